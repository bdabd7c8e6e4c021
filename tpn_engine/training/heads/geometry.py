"""Small pieces of geometry that every part of the head sampler uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Axis = Literal["x", "y"]


@dataclass(frozen=True)
class Similarity:
    """A map x -> scale * rotation x + translation, applied to rows [N,3]."""

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """The mapped points, [N,3]."""
        return self.scale * (points @ self.rotation.T) + self.translation


@dataclass(frozen=True)
class SurfacePoints:
    """Points on a triangle mesh: `triangle` [N] and `barycentric` [N,3] coordinates in it."""

    triangle: np.ndarray
    barycentric: np.ndarray

    def of(self, values: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """What is known at the vertices, values [V,C], at these points, [N,C]."""
        return (values[triangles[self.triangle]] * self.barycentric[..., None]).sum(1)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [...,3] at length one; a zero vector stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def perpendicular(vectors: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The part of `vectors` [...,3] at right angles to the unit `normals` [...,3], at length one."""
    return unit(vectors - normals * (vectors * normals).sum(-1, keepdims=True))


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, the cubic 3t^2 - 2t^3 between; downward where high < low."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def fibonacci_sphere(count: int) -> np.ndarray:
    """`count` unit vectors spread evenly over the sphere on a Fibonacci spiral, [count,3]."""
    k = np.arange(count) + 0.5
    polar = np.arccos(1 - 2 * k / count)
    azimuth = np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(azimuth) * np.sin(polar), np.cos(polar), np.sin(azimuth) * np.sin(polar)], 1)


def rotation(axis: Axis, angle: float) -> np.ndarray:
    """The right-handed rotation by `angle` (radians) about a coordinate axis, [3,3]."""
    c, s = np.cos(angle), np.sin(angle)
    if axis == "x":
        return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def quads_to_triangles(quads: np.ndarray) -> np.ndarray:
    """Faces [F,4] to triangles [T,3]; a face whose last corner repeats its first is one triangle."""
    is_quad = quads[:, 3] != quads[:, 0]
    return np.concatenate([quads[:, [0, 1, 2]], quads[is_quad][:, [0, 2, 3]]])


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [V,3]: the area-weighted mean of the triangles around each vertex."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(triangles[:, corner], faces[:, axis], len(vertices))
    return unit(total)


def similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """The similarity that maps points `source` [N,3] closest to `target` [N,3] (Umeyama 1991)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    turn = u @ np.diag(sign) @ vt
    scale = float((singular * sign).sum() / ((source - source_mean) ** 2).sum(1).mean())
    return Similarity(scale, turn, target_mean - scale * turn @ source_mean)


def sample_surface(
    vertices: np.ndarray, triangles: np.ndarray, density: np.ndarray, count: int, rng: np.random.Generator
) -> SurfacePoints:
    """About `count` random points, as dense as `density` [V] in [0,1] says.

    Triangles are drawn by area times density; points where the interpolated density is low are
    thinned out once more, which sharpens the border, so fewer than `count` come back.
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    share = np.linalg.norm(np.cross(b - a, c - a), axis=1) * density[triangles].mean(1)
    triangle = rng.choice(len(triangles), count, p=share / share.sum())
    uv = rng.random((count, 2))
    outside = uv.sum(1) > 1
    uv[outside] = 1 - uv[outside]
    barycentric = np.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], 1)
    here = (density[triangles[triangle]] * barycentric).sum(1)
    kept = rng.random(count) < np.clip(here * 1.2, 0, 1)
    return SurfacePoints(triangle[kept], barycentric[kept])


def clipped(values: np.ndarray, triangles: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a mesh where `inside` [V], linear in each triangle, is positive.

    `values` [V,C] are what is known at the vertices; returns them with the new vertices' appended, and the triangles
    [T,3], wound as before.
    """
    within = inside[triangles] > 0
    count = within.sum(1)
    # Turned so that the corner that stands alone on its side of the line comes first.
    lone = np.where(count == 1, within.argmax(1), (~within).argmax(1))
    turned = np.take_along_axis(triangles, (lone[:, None] + np.arange(3)) % 3, 1)[(count == 1) | (count == 2)]
    tips = inside[turned[:, 0]] > 0
    apex, second, third = turned.T

    def crossing(end: np.ndarray) -> np.ndarray:
        share = (inside[apex] / (inside[apex] - inside[end]))[:, None]
        return values[apex] * (1 - share) + values[end] * share

    first = len(values) + np.arange(len(turned))
    last = first + len(turned)
    base = ~tips
    parts = [
        triangles[count == 3],
        np.stack([apex, first, last], 1)[tips],
        np.stack([first, second, third], 1)[base],
        np.stack([first, third, last], 1)[base],
    ]
    return np.concatenate([values, crossing(second), crossing(third)]), np.concatenate(parts)
