"""Collars hang together, a neck ends level, and what a photo shows stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from tpn_engine.nets.box import Box
from tpn_engine.surface.density import DEEP, Lattice
from tpn_engine.surface.isosurface import isosurface
from tpn_engine.surface.settle import COLLAR, JAW, cut, settle_collar

LEVEL, STEEP, FLOOR = 10.0, 5000.0, -0.4
LATTICE = Lattice(96, Box())


def bust(scale: float = STEEP) -> np.ndarray:
    """Densities [X, Y, Z] of a ball on an upright cylinder with thin discs around it, `scale` an EG3D unit."""
    x, y, z = np.meshgrid(*LATTICE.coordinates, indexing="ij")
    ball = 0.2 - np.sqrt(x**2 + y**2 + z**2)
    across = np.hypot(x, z)
    neck = np.minimum(0.1 - across, 0.05 - y)
    discs = np.minimum(0.2 - across, 0.006 - np.abs((y + 0.5) % 0.04 - 0.02))
    discs = np.where(y < JAW - COLLAR, discs, -1)
    distance = np.maximum(ball, np.maximum(neck, discs))
    values = LEVEL + scale * distance
    far = np.abs(distance) > 0.05  # as `surface_density` leaves what it needn't know
    return np.where(far, LEVEL + np.sign(distance) * DEEP, values).astype(np.float32)


def ended(values: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    changed = values.copy()
    settle_collar(changed, LATTICE, LEVEL)
    cut(changed, LATTICE, LEVEL, floor)
    return changed


def surface(values: np.ndarray) -> np.ndarray:
    return isosurface(values, LATTICE, LEVEL)[0]


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """As far as the surface goes: what is deep inside may be less deep."""
    near = STEEP * LATTICE.step[0]
    np.testing.assert_allclose(
        found.clip(LEVEL - near, LEVEL + near), expected.clip(LEVEL - near, LEVEL + near), atol=1e-4
    )


def test_above_the_jaw_nothing_changes() -> None:
    values = bust()
    y = LATTICE.coordinates[1]
    face = y > JAW
    same(ended(values)[:, face], values[:, face])


def test_a_chin_is_no_collar() -> None:
    values = bust()
    _, y, z = LATTICE.coordinates
    chin = (y[:, None] > -0.24) & (y[:, None] < 0.05) & (z[None, :] > 0.1)
    found = ended(values)
    same(found[:, chin], values[:, chin])


@pytest.mark.parametrize("floor", [FLOOR, -0.13])
def test_the_neck_ends_level_at_the_floor(floor: float) -> None:
    vertices = surface(ended(bust(), floor))
    assert vertices[:, 1].min() == pytest.approx(floor, abs=1e-3)
    base = vertices[vertices[:, 1] < floor + 1e-3]
    assert np.hypot(base[:, 0], base[:, 2]).min() < 0.02


@pytest.mark.parametrize("scale", [STEEP, 50.0])
def test_shreds_below_the_jaw_become_one_body(scale: float) -> None:
    values = bust(scale)
    deep = LATTICE.coordinates[1][20]
    assert FLOOR < deep < JAW - COLLAR

    def layers(volume: np.ndarray) -> int:
        """How often a line down through the discs enters the surface."""
        line = volume[np.argmin(np.abs(LATTICE.coordinates[0] - 0.15)), :, 48] > LEVEL
        return int((np.diff(line.astype(int)) == 1).sum())

    assert layers(values) >= 3
    assert layers(ended(values)) <= 1


def test_smoothing_moves_a_smooth_surface_little() -> None:
    x, _, z = np.meshgrid(*LATTICE.coordinates, indexing="ij")
    cylinder = (LEVEL + STEEP * (0.15 - np.hypot(x, z))).astype(np.float32)
    vertices = surface(ended(cylinder, -0.45))
    side = vertices[np.abs(vertices[:, 1] + 0.25) < 0.15]
    assert np.abs(np.hypot(side[:, 0], side[:, 2]) - 0.15).max() < 0.004
