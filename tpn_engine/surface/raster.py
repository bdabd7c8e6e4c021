"""Which triangle of a mesh each pixel of a camera shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpn_engine.camera import Camera

_AT_ONCE = 2**21  # pairs of a triangle and a pixel that are tested together: some 100 MB


@dataclass(frozen=True)
class Raster:
    """What a camera sees of a mesh, at the centres of its pixels.

    `depth` [S, S] float64 along the camera's axis, infinite where it sees nothing; `triangle` [S, S]
    the nearest one, -1 where there is none; `weights` [S, S, 3] of its corners, true to perspective.
    """

    depth: np.ndarray
    triangle: np.ndarray
    weights: np.ndarray

    def interpolated(self, values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Values [N, C] of the mesh's vertices as a picture [S, S, C], 0 where nothing is seen."""
        corners = values[triangles[self.triangle]]
        return np.einsum("ijk,ijkc->ijc", self.weights, corners)


def rasterize(vertices: np.ndarray, triangles: np.ndarray, camera: Camera, size: int) -> Raster:
    """Draw a mesh, [N, 3] and [M, 3], on `size` x `size` pixels; nothing may lie behind the camera."""
    projected = camera.project(vertices)
    corners = projected[triangles]
    xy, inverse_depth = corners[..., :2] * size - 0.5, 1 / corners[..., 2]
    first = np.ceil(xy.min(1)).clip(0, size).astype(np.int64)
    last = np.floor(xy.max(1)).clip(-1, size - 1).astype(np.int64)
    width, height = (last - first + 1).clip(0).T
    counts = width * height
    depth = np.full(size * size, np.inf)
    nearest = np.full(size * size, -1, np.int64)
    for part in _parts(counts):
        triangle = np.repeat(part, counts[part])
        order = np.arange(len(triangle)) - np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        row, column = np.divmod(order, width[triangle])
        column, row = column + first[triangle, 0], row + first[triangle, 1]
        weights, inside = _barycentric(xy[triangle], np.stack([column, row], 1))
        triangle, weights = triangle[inside], weights[inside]
        pixel = (row * size + column)[inside]
        candidate = 1 / (weights * inverse_depth[triangle]).sum(1)
        np.minimum.at(depth, pixel, candidate)
        won = candidate <= depth[pixel]
        nearest[pixel[won]] = triangle[won]
    shown = np.flatnonzero(nearest >= 0)
    row, column = np.divmod(shown, size)
    weights = np.zeros((size * size, 3))
    flat, _ = _barycentric(xy[nearest[shown]], np.stack([column, row], 1))
    weights[shown] = flat * inverse_depth[nearest[shown]] * depth[shown, None]
    return Raster(depth.reshape(size, size), nearest.reshape(size, size), weights.reshape(size, size, 3))


def _parts(counts: np.ndarray) -> list[np.ndarray]:
    """Triangles that cover any pixel's centre, in groups of about `_AT_ONCE` pixels."""
    covering = np.flatnonzero(counts)
    if not len(covering):
        return []
    group = np.cumsum(counts[covering]) // _AT_ONCE
    return np.split(covering, np.flatnonzero(np.diff(group)) + 1)


def _barycentric(corners: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [K, 3] of the corners [K, 3, 2] at points [K, 2], and whether they lie inside."""
    first, second, third = corners[:, 0], corners[:, 1], corners[:, 2]
    area = _cross(second - first, third - first)
    area = np.where(area == 0, np.inf, area)
    weights = np.stack(
        [
            _cross(second - points, third - points) / area,
            _cross(third - points, first - points) / area,
            _cross(first - points, second - points) / area,
        ],
        axis=1,
    )
    # a triangle seen from its edge covers nothing: its weights are all 0
    return weights, (weights >= 0).all(1) & np.isfinite(area)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
