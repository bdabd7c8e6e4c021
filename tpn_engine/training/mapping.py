"""The mapping from a latent to w: so that random draws have the spread of the codes that portraits have."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.layers import normalize_second_moment
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.training.store import HeadStore

HEADS = 1200
BATCH = 256
STEPS = 3000
LEARNING_RATE = 1.0  # of weights that are applied with a multiplier of a hundredth


@torch.no_grad()
def single_codes(network: TriPlaneNet, store: HeadStore) -> tuple[Tensor, Tensor]:
    """The pSp encoder's mean code over the layers [2N, w_dim] of the first view of N heads, and of its mirror image.

    With the views' camera labels [N, 25]. The first view is a front (`heads.cameras`).
    """
    codes, labels = [], []
    for path in store.files[:HEADS]:
        view = store.views([path]).one(torch.zeros(1, dtype=torch.long, device=store.device))
        photo = torch.cat([view.on_black()[:, 0].permute(0, 3, 1, 2), view.alpha], dim=1) * 2 - 1
        labels.append(view.label[0, 0])
        codes.append(network.codes(torch.cat([photo, photo.flip(-1)])).mean(1))
    return torch.cat(codes), torch.stack(labels)


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
