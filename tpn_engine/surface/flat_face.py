"""A face spread out flat: each landmark has its place, so that all faces lie alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import Delaunay

from tpn_engine.camera import Camera
from tpn_engine.surface.raster import rasterize
from tpn_engine.surface.sight import sample


@dataclass(frozen=True)
class FlatFace:
    """A square of `size` x `size` pixels on which landmarks lie at `places` [L, 2] in [0, 1].

    `corners` [P, 3] are the landmarks around each of its P pixels that the face covers, `weights` [P, 3] theirs, and
    `covered` [size, size] bool tells which ones those are.
    """

    places: np.ndarray
    triangles: np.ndarray
    covered: np.ndarray
    corners: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, places: np.ndarray, size: int) -> FlatFace:
        """With the triangles between the landmarks that lie at `places`."""
        between = Delaunay(places)
        centres = (np.indices((size, size))[::-1].reshape(2, -1).T + 0.5) / size
        triangle = between.find_simplex(centres)
        covered = triangle >= 0
        triangle, centres = triangle[covered], centres[covered]
        way = between.transform[triangle]
        weights = np.einsum("nij,nj->ni", way[:, :2], centres - way[:, 2])
        weights = np.concatenate([weights, 1 - weights.sum(1, keepdims=True)], axis=1)
        triangles = between.simplices
        return cls(places, triangles, covered.reshape(size, size), triangles[triangle], weights)

    def spread(self, picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """A picture [H, W] or [H, W, C] with landmarks [L, 2 or 3] on it, spread out [size, size, ...]; beside it 0."""
        flat = np.zeros((*self.covered.shape, *picture.shape[2:]), np.float32)
        flat[self.covered] = sample(picture, np.einsum("pk,pkc->pc", self.weights, landmarks[self.corners][..., :2]))
        return flat

    def gathered(
        self, values: np.ndarray, points: np.ndarray, camera: Camera, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Values [S, S] spread out, on the picture [size, size] in which landmarks lie at points [L, 3], and how deep.

        Beside the face the values mean nothing and the depth [size, size] is infinite.
        """
        raster = rasterize(points, self.triangles, camera, size)
        places = raster.interpolated(self.places, self.triangles).reshape(-1, 2)
        return sample(values, places).reshape(size, size), raster.depth
