"""How unlike a photo a head looks, to networks that were taught to see: LPIPS and face identity."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tpn_engine.checkpoints.loss_weights import IDENTITY_WEIGHTS, LPIPS_WEIGHTS
from tpn_engine.checkpoints.perceptual import load_identity, load_lpips, origins
from tpn_engine.inversion.identity import aligned_face
from tpn_engine.inversion.options import LatentOptions, PivotalTuningOptions
from tpn_engine.inversion.pixels import Target, see
from tpn_engine.inversion.subject import Subject
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.irse import IdentityNetwork
from tpn_engine.nets.lpips import Lpips
from tpn_engine.standard_face import StandardFace

_EDGE = 64  # pixels of the picture: LPIPS was fitted to what people said of patches of this size


@dataclass(frozen=True)
class PerceptualLoss:
    """A small picture of the photo [1,3,64,64] in [-1,1], and the networks that compare others with it.

    A network is None where its loss isn't wanted or its weights aren't present; at least one is there.
    `used` says of each loss where its weights come from, `face` where the standard face stands.
    """

    picture: Tensor
    lpips: Lpips | None
    lpips_weight: float
    identity: IdentityNetwork | None
    identity_weight: float
    used: dict[str, str]
    face: StandardFace

    @classmethod
    @torch.no_grad()
    def of(cls, subject: Subject, options: LatentOptions | PivotalTuningOptions) -> PerceptualLoss | None:
        """What the options ask for as far as the weights are present; None if that is nothing. Raises ModelError."""
        device = subject.photo.device
        lpips = load_lpips(device) if options.lpips_weight else None
        identity = load_identity(device) if options.identity_weight else None
        if lpips is None and identity is None:
            return None
        used = {
            name: origins(weights)
            for name, network, weights in (("lpips", lpips, LPIPS_WEIGHTS), ("identity", identity, IDENTITY_WEIGHTS))
            if network is not None
        }
        picture = _picture(Target.of(subject.photo, None, _EDGE).color)
        return cls(picture, lpips, options.lpips_weight, identity, options.identity_weight, used, subject.face)

    def __call__(self, generator: Generator, planes: Tensor, label: Tensor) -> Tensor:
        """Of planes [1, 3, C, H, W] as the camera label [1, 25] sees them; renders a whole small picture."""
        seen = see(planes, generator.decoder, generator.preset, label, _EDGE, torch.arange(_EDGE**2))
        return self.between(_picture(seen.color), label)

    def between(self, picture: Tensor, label: Tensor) -> Tensor:
        """Of a picture [1, 3, 64, 64] in [-1, 1]: LPIPS and 1 - the similarity of the faces, by their weights."""
        total = picture.new_zeros(())
        if self.lpips is not None:
            total = total + self.lpips_weight * self.lpips(picture, self.picture)[0]
        if self.identity is not None:
            features = [self.identity(aligned_face(part, label, self.face)) for part in (picture, self.picture)]
            total = total + self.identity_weight * (1 - (features[0] * features[1]).sum())
        return total


def _picture(pixels: Tensor) -> Tensor:
    """[1, 64 * 64, 3] in [0, 1] to [1, 3, 64, 64] in [-1, 1]."""
    return pixels.transpose(1, 2).unflatten(2, (_EDGE, _EDGE)) * 2 - 1
