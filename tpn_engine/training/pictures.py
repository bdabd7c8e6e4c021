"""One exact picture of a head, as measures compare it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def off_edges(depth: np.ndarray) -> np.ndarray:
    """Which pixels of a depth picture [S,S] lie on the same surface as their neighbours, bool [S,S]."""
    smooth = np.ones(depth.shape, bool)
    down = np.abs(np.diff(depth, axis=0)) > EDGE_STEP
    across = np.abs(np.diff(depth, axis=1)) > EDGE_STEP
    smooth[:-1] &= ~down
    smooth[1:] &= ~down
    smooth[:, :-1] &= ~across
    smooth[:, 1:] &= ~across
    return smooth
