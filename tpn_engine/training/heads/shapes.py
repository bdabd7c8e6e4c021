"""Simple solids: tubes along curves, balls, and grids of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tpn_engine.training.heads.geometry import perpendicular, unit, vertex_normals

TUBE_SIDES = 8


@dataclass(frozen=True)
class Shape:
    """`points` [N,3], outward unit `normals` [N,3], `uv` [N,2] and `triangles` [T,3]."""

    points: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray


def join(shapes: Sequence[Shape]) -> Shape:
    """Several shapes as one."""
    first = np.cumsum([0, *(len(shape.points) for shape in shapes)])
    return Shape(
        np.concatenate([shape.points for shape in shapes]),
        np.concatenate([shape.normals for shape in shapes]),
        np.concatenate([shape.uv for shape in shapes]),
        np.concatenate([shape.triangles + start for shape, start in zip(shapes, first[:-1], strict=True)]),
    )


def tube(curve: np.ndarray, radius: float, *, closed: bool) -> Shape:
    """A round tube along `curve` [K,3]; open tubes have no caps, which thin ones don't need."""
    ahead = np.roll(curve, -1, 0) - np.roll(curve, 1, 0) if closed else np.gradient(curve, axis=0)
    tangent = unit(ahead)
    up = np.where(np.abs(tangent[:, 1:2]) < 0.9, np.array([[0, 1.0, 0]]), np.array([[0, 0, 1.0]]))
    if closed:  # a ring's own axis stays at right angles to it all around
        up = np.broadcast_to(unit(np.cross(curve - curve.mean(0), tangent).sum(0)), curve.shape)
    first = perpendicular(up, tangent)
    second = np.cross(tangent, first)
    angle = np.arange(TUBE_SIDES) * (2 * np.pi / TUBE_SIDES)
    normals = first[:, None] * np.cos(angle)[:, None] + second[:, None] * np.sin(angle)[:, None]
    points = curve[:, None] + radius * normals
    triangles = grid_triangles(len(curve), TUBE_SIDES, wrap_rows=closed, wrap_columns=True)
    return Shape(points.reshape(-1, 3), normals.reshape(-1, 3), np.zeros((points.size // 3, 2), np.float32), triangles)


def sphere(centre: np.ndarray, radius: float) -> Shape:
    """A ball."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, 9), np.arange(16) * (np.pi / 8), indexing="ij")
    ring = np.sin(polar)
    normals = np.stack([ring * np.cos(azimuth), np.cos(polar), ring * np.sin(azimuth)], -1).reshape(-1, 3)
    triangles = grid_triangles(9, 16, wrap_rows=False, wrap_columns=True)
    return Shape(centre + radius * normals, normals, np.zeros((len(normals), 2), np.float32), triangles)


def fan(outline: np.ndarray, normal: np.ndarray) -> Shape:
    """The flat inside of a closed `outline` [K,3], about at right angles to `normal` [3]."""
    points = np.concatenate([outline.mean(0, keepdims=True), outline])
    around = np.arange(len(outline))
    triangles = np.stack([np.zeros_like(around), 1 + around, 1 + np.roll(around, -1)], 1)
    normals = vertex_normals(points, triangles)
    normals *= np.sign(normals @ normal)[:, None]
    return Shape(points, normals, np.zeros((len(points), 2), np.float32), triangles)


def grid_triangles(rows: int, columns: int, *, wrap_rows: bool, wrap_columns: bool) -> np.ndarray:
    """Triangles [T,3] between the points of a grid, row after row, that may close onto itself."""
    index = np.arange(rows * columns).reshape(rows, columns)
    if wrap_rows:
        index = np.concatenate([index, index[:1]])
    if wrap_columns:
        index = np.concatenate([index, index[:, :1]], axis=1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.concatenate([np.stack(corners, -1).reshape(-1, 3) for corners in ((a, b, c), (a, c, d))])
