"""Camera labels as tensors: of cameras in a mirror, and of cameras that moved with what they see."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tpn_engine.camera import Camera

_MIRROR_SIGNS = Camera(np.ones((4, 4), np.float32), np.ones((3, 3), np.float32)).mirrored().label


def mirrored_label(label: Tensor) -> Tensor:
    """Labels [..., 25] of the cameras that see the mirrored world as the given ones see the world."""
    return label * label.new_tensor(_MIRROR_SIGNS)


def moved_label(label: Tensor, turn: Tensor, shift: Tensor) -> Tensor:
    """Labels [..., 25] of cameras turned about the world's origin by `turn` [..., 3, 3], then shifted by [..., 3]."""
    pose = label[..., :16].unflatten(-1, (4, 4))
    upper = turn @ pose[..., :3, :]
    upper = torch.cat([upper[..., :3], upper[..., 3:] + shift[..., None]], dim=-1)
    return torch.cat([upper.flatten(-2), label[..., 12:]], dim=-1)


def rotation(vector: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of rotation vectors [..., 3] in radians."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.matrix_exp(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3)))
