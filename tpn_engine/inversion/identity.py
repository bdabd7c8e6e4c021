"""Faces as identity networks want them, and how alike two are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.camera import Camera
from tpn_engine.nets.irse import IR_SE50, IdentityNetwork
from tpn_engine.portrait.landmarks import Region
from tpn_engine.standard_face import StandardFace

_MARGIN = 1.05  # of the box around the landmarks: ArcFace's aligned faces end a little above the brows' hairline


def aligned_face(pictures: Tensor, label: Tensor, face: StandardFace) -> Tensor:
    """The face in aligned pictures [B,3,R,R] as [B,3,112,112], from where the camera label [1,25] expects it.

    Nothing is detected: the box is the same for a photo and for what a model makes of it, which are of one camera.
    """
    size = pictures.shape[-1]
    region = Region.expected(Camera.from_label(label[0].detach().cpu().numpy()), face, size)
    edge = min(size, max(2, round(region.extent * _MARGIN)))
    left, top = (round(min(max(middle - edge / 2, 0), size - edge)) for middle in region.center.tolist())
    cut = pictures[..., top : top + edge, left : left + edge]
    shape = (IR_SE50.resolution,) * 2
    return F.interpolate(cut, size=shape, mode="bilinear", align_corners=False, antialias=True)


@torch.no_grad()
def identity_similarity(
    network: IdentityNetwork, one: Tensor, other: Tensor, label: Tensor, face: StandardFace
) -> float:
    """Cosine in [-1, 1] between the faces in two aligned pictures [1,3,R,R] in [-1, 1]; 1 for the same face."""
    faces = [aligned_face(picture, label, face) for picture in (one, other)]
    return float((network(faces[0]) * network(faces[1])).sum())
