"""Exact pictures of a head: one as measures compare it, and where pictures of depth have edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tpn_engine.camera import Camera

EDGE_STEP = 0.03  # depth difference to a neighbour that marks a silhouette pixel, whose depth is a mixture


@dataclass(frozen=True)
class PixelView:
    """One exact picture of S x S pixels: `rgb` uint8 [S,S,3], `alpha` float32 in [0,1], `depth` float32."""

    rgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    camera: Camera

    def on_black(self) -> np.ndarray:
        """The picture [S,S,3] in [0,1] over black."""
        return self.rgb / np.float32(255) * self.alpha[..., None]


def off_edges(depth: Tensor) -> Tensor:
    """Which pixels of depth pictures [...,S,S] lie on the same surface as their neighbours, bool [...,S,S]."""
    smooth = torch.ones_like(depth, dtype=torch.bool)
    down, across = (depth.diff(dim=dim).abs() <= EDGE_STEP for dim in (-2, -1))
    smooth[..., :-1, :] &= down
    smooth[..., 1:, :] &= down
    smooth[..., :-1] &= across
    smooth[..., 1:] &= across
    return smooth
