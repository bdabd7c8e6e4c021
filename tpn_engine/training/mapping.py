"""The mapping from a latent to w: so that random draws have the spread of the codes that portraits have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.layers import normalize_second_moment
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.training.data import HeadViews, photo_tensor

BATCH = 256
STEPS = 3000
LEARNING_RATE = 1.0  # of weights that are applied with a multiplier of a hundredth


@torch.no_grad()
def single_codes(network: TriPlaneNet, files: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """The pSp encoder's mean code over the layers [2N, w_dim] of each head's most frontal view and its mirror image.

    With the views' camera labels [N, 25].
    """
    codes, labels = [], []
    device = next(network.parameters()).device
    for path in files:
        head = HeadViews.load(path)
        view = head.view(int(abs(head.yaws()).argmin()))
        photo = photo_tensor(view.on_black(), view.alpha)[None].to(device)
        labels.append(torch.from_numpy(view.camera.label))
        codes.append(network.codes(torch.cat([photo, photo.flip(-1)])).mean(1))
    return torch.cat(codes), torch.stack(labels).to(device)


def fit_mapping(network: TriPlaneNet, codes: Tensor, labels: Tensor, seed: int) -> float:
    """Teach the mapping network a Gaussian with the mean and the leading directions of `codes` [N, w_dim].

    As many directions as z has dimensions, whatever camera of `labels` [M, 25] z is conditioned on. The average
    code becomes the codes' mean. Returns the root mean square error relative to the Gaussian's spread.
    """
    mapping = network.decoder.backbone.mapping.requires_grad_(True).train()
    mean = codes.mean(0)
    _, spread, directions = torch.linalg.svd(codes - mean, full_matrices=False)
    axes = (spread / max(len(codes) - 1, 1) ** 0.5)[: mapping.z_dim, None] * directions[: mapping.z_dim]
    scale = axes.square().sum(0).mean().sqrt()
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(mapping.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    error = torch.ones((), device=codes.device)
    for _ in range(STEPS):
        z = torch.randn(BATCH, mapping.z_dim, generator=random).to(codes.device)
        label = labels[torch.randint(len(labels), (BATCH,), generator=random).to(labels.device)]
        wanted = mean + normalize_second_moment(z)[:, : len(axes)] @ axes
        error = F.mse_loss(mapping(z, label), wanted) / scale**2
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
    mapping.w_avg.copy_(mean)
    mapping.requires_grad_(False).eval()
    return float(error.detach().sqrt())
