"""A coloured egg with a red nose, in the engine's world: what a head is to these tests.

It stands off centre, is tilted and has other colours on each side, so that no mirrored, turned or
scaled copy of it looks the same.
"""

from __future__ import annotations

import numpy as np

from tpn_engine.camera import Camera

CENTER = np.array([0.03, -0.02, 0.05])
RADII = np.array([0.19, 0.26, 0.22])
_TILT = 0.35
_AXES = np.array([[np.cos(_TILT), -np.sin(_TILT), 0], [np.sin(_TILT), np.cos(_TILT), 0], [0, 0, 1]])
NOSE = CENTER + np.array([0.0, 0.0, RADII[2]])


def color(points: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] at surface points [N, 3]: redder to the left, greener upward, bluer in front."""
    shade = 0.5 + 1.4 * (points - CENTER)
    nose = np.exp(-np.sum((points - NOSE) ** 2, axis=1, keepdims=True) / 0.05**2)
    return np.clip(shade * (1 - nose) + np.array([0.9, 0.1, 0.1]) * nose, 0.02, 0.98)


def arrays(rows: int = 120, columns: int = 180) -> dict[str, np.ndarray]:
    """The egg as the engine writes it to an NPZ: vertices, triangles, normals, colors."""
    theta = np.linspace(0, np.pi, rows + 1)[1:-1]
    phi = np.linspace(0, 2 * np.pi, columns, endpoint=False)
    ring = np.stack([np.cos(phi), np.zeros(columns), np.sin(phi)], 1)
    sphere = [[0, 1, 0]] + [row for t in theta for row in np.sin(t) * ring + [0, np.cos(t), 0]] + [[0, -1, 0]]
    unit = np.array(sphere, np.float64)
    a, b = np.meshgrid(np.arange(rows - 2), np.arange(columns), indexing="ij")
    here, beside = 1 + a * columns + b, 1 + a * columns + (b + 1) % columns
    quads = np.stack([here, beside, here + columns, beside + columns], -1).reshape(-1, 4)
    around = np.arange(columns)
    last = 1 + (rows - 2) * columns
    top = np.stack([0 * around, 1 + (around + 1) % columns, 1 + around], 1)
    bottom = np.stack([0 * around + len(unit) - 1, last + around, last + (around + 1) % columns], 1)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [1, 3, 2]], top, bottom])
    vertices = (unit * RADII) @ _AXES.T + CENTER
    normals = (unit / RADII) @ _AXES.T
    return {
        "vertices": vertices.astype(np.float32),
        "triangles": triangles.astype(np.int32),
        "normals": (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32),
        "colors": color(vertices).astype(np.float32),
    }


def picture(camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray]:
    """What `camera` sees, by ray and quadric: sRGB [size, size, 3] and where the egg is."""
    steps = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(steps, steps)
    image = np.stack([u, v, np.ones_like(u)], -1).reshape(-1, 3)
    directions = image @ np.linalg.inv(camera.intrinsics).T @ camera.pose[:3, :3].T.astype(np.float64)
    origin = ((camera.pose[:3, 3] - CENTER) @ _AXES) / RADII
    ray = (directions @ _AXES) / RADII
    a, b, c = (ray**2).sum(1), ray @ origin, origin @ origin - 1
    discriminant = b**2 - a * c
    inside = discriminant > 0
    depth = (-b - np.sqrt(np.where(inside, discriminant, 0))) / a
    colors = color(camera.pose[:3, 3] + depth[:, None] * directions)
    return colors.reshape(size, size, 3), inside.reshape(size, size)
