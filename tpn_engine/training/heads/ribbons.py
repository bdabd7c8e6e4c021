"""Hair as ribbons: flat, tapering strips of triangles along curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpn_engine.training.heads.geometry import perpendicular, unit


@dataclass(frozen=True)
class Ribbons:
    """n strips of K cross-sections, two vertices each: vertex ((strip * K) + section) * 2 + side.

    `positions`, `normals` [2nK,3]; `uv` [2nK,2], u across and v from root to tip; `tangents`
    [2nK,4], direction and shade; `triangles` [2n(K-1),3]. Strips are stored one after another, so
    that a renderer finds the vertices of neighbouring triangles close together.
    """

    positions: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    tangents: np.ndarray
    triangles: np.ndarray


def outward_frame(curves: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along curves [K,n,3]: unit tangent, direction away from `centre` at right angles to it, and their cross."""
    tangent = unit(np.gradient(curves, axis=0))
    outward = perpendicular(curves - centre, tangent)
    return tangent, outward, np.cross(tangent, outward)


def make_ribbons(
    curves: np.ndarray,
    shade: np.ndarray,
    centre: np.ndarray,
    rng: np.random.Generator,
    *,
    width: float | np.ndarray,
    taper: float = 0.35,
) -> Ribbons:
    """Ribbons along `curves` [K,n,3] that lie about flat around `centre`.

    `width` in EG3D units at the root, of all or [n] of each, `taper` the share of it left at the tip, `shade` [n] each
    ribbon's own brightness. Roll and width vary from ribbon to ribbon.
    """
    sections, count = curves.shape[:2]
    tangent, outward, across = outward_frame(curves, centre)
    roll = rng.normal(0, 0.5, (1, count, 1))
    direction = across * np.cos(roll) + outward * np.sin(roll)
    along = np.linspace(0, 1, sections)
    tapered = (1 - (1 - taper) * along**2)[:, None, None]
    widths = tapered * np.reshape(width, (1, -1, 1)) * np.exp(rng.normal(0, 0.25, (1, count, 1)))
    half = (direction * widths * 0.5).transpose(1, 0, 2)
    middle = curves.transpose(1, 0, 2)
    positions = np.stack([middle - half, middle + half], 2)

    shape = (count, sections, 2)
    uv = np.zeros((*shape, 2), np.float32)
    uv[:, :, 1, 0] = 1
    uv[..., 1] = along[:, None]
    tangents = np.empty((*shape, 4))
    tangents[..., :3] = tangent.transpose(1, 0, 2)[:, :, None]
    tangents[..., 3] = shade[:, None, None]
    normals = np.repeat(outward.transpose(1, 0, 2)[:, :, None], 2, 2)

    index = np.arange(count * sections * 2).reshape(shape)
    a, b, c, d = index[:, :-1, 0], index[:, :-1, 1], index[:, 1:, 0], index[:, 1:, 1]
    triangles = np.stack([np.stack([a, b, c], -1), np.stack([b, d, c], -1)], 2)
    return Ribbons(
        positions.reshape(-1, 3),
        normals.reshape(-1, 3),
        uv.reshape(-1, 2),
        tangents.reshape(-1, 4),
        triangles.reshape(-1, 3),
    )


def along_ribbons(values: np.ndarray) -> np.ndarray:
    """What is known at the sections of curves, [K,n,C], at the vertices of their ribbons, [2nK,C]."""
    return np.repeat(values.transpose(1, 0, 2).reshape(-1, values.shape[2]), 2, axis=0)


def random_waves(points: np.ndarray, frequency: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random vector field at `points` [N,3], about one strong, [N,3]: a sum of four plane waves."""
    total = np.zeros(points.shape)
    for _ in range(4):
        wave = rng.normal(0, frequency, (3, 3))
        total += np.sin(points @ wave + rng.uniform(0, 6.28, 3))
    return total / 2
