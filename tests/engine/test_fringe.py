"""Fringes hang together and don't stand out like the peak of a cap; foreheads stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tpn_engine.nets.box import Box
from tpn_engine.surface.density import DEEP, Lattice
from tpn_engine.surface.fringe import FRINGE, before_settling, in_fringe, settle_fringe
from tpn_engine.surface.isosurface import isosurface

LEVEL, STEEP = 10.0, 5000.0
LATTICE = Lattice(96, Box())
X, Y, Z = np.meshgrid(*LATTICE.coordinates, indexing="ij")
NEAR = STEEP * LATTICE.step[0]
RADIUS, MIDDLE = 0.22, -0.1  # of a ball, and its z


def ball() -> np.ndarray:
    """Distances [X, Y, Z] into a ball whose forehead stands where heads have theirs."""
    return RADIUS - np.sqrt(X**2 + Y**2 + (Z - MIDDLE) ** 2)


def densities(distance: np.ndarray) -> np.ndarray:
    """As `surface_density` leaves them: known near the surface alone."""
    known = LEVEL + STEEP * distance
    return np.where(np.abs(distance) > 0.05, LEVEL + np.sign(distance) * DEEP, known).astype(np.float32)


def settled(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    settle_fringe(changed, LATTICE, LEVEL)
    return changed


def near(values: np.ndarray) -> np.ndarray:
    """As far as the surface goes: what is deep inside may be less deep."""
    return values.clip(LEVEL - NEAR, LEVEL + NEAR)


def peaked() -> np.ndarray:
    """Distances into a ball with a block before it that stands out as far as a nose."""
    block = np.minimum(0.06 - np.abs(Y - 0.2), np.minimum(0.08 - np.abs(X), 0.16 - Z))
    return np.maximum(ball(), np.minimum(block, Z + 0.1))


def front(values: np.ndarray, height: float) -> float:
    """The foremost z of the surface at a height in the middle."""
    vertices = isosurface(values, LATTICE, LEVEL)[0]
    there = (np.abs(vertices[:, 1] - height) < 0.006) & (np.abs(vertices[:, 0]) < 0.02)
    return float(vertices[there, 2].max())


def test_a_ledge_before_the_forehead_goes_and_the_forehead_stays() -> None:
    values = densities(ball())
    ledge = (np.abs(Y - 0.17) < 0.012) & (np.abs(X) < 0.1) & (Z > 0) & (Z < 0.14)
    with_ledge = np.where(ledge, LEVEL + STEEP * 0.01, values).astype(np.float32)
    before = (FRINGE[0] < Y) & (Z > 0.09)
    assert (with_ledge[before] > LEVEL).any()
    assert not (settled(with_ledge)[before] > LEVEL).any()
    vertices = isosurface(settled(values), LATTICE, LEVEL)[0]
    forehead = vertices[(vertices[:, 1] > 0.1) & (vertices[:, 2] > 0.02)]
    assert np.abs(np.linalg.norm(forehead - (0, 0, MIDDLE), axis=1) - RADIUS).max() < 0.005


def test_a_peak_is_drawn_back_and_keeps_a_third_of_what_it_stands_out() -> None:
    values = densities(peaked())
    assert front(values, 0.2) == pytest.approx(0.16, abs=0.003)
    assert front(settled(values), 0.2) == pytest.approx(0.115, abs=0.01)


def test_below_the_brows_nothing_changes() -> None:
    values = densities(peaked())
    face = LATTICE.coordinates[1] < FRINGE[0]
    np.testing.assert_allclose(near(settled(values)[:, face]), near(values[:, face]), atol=1e-4)


def test_what_is_moved_lies_in_the_fringe() -> None:
    values = densities(peaked())
    moved = np.abs(near(settled(values)) - near(values)) > 1e-3
    assert moved.any()
    assert in_fringe(torch.from_numpy(np.stack([X, Y, Z], axis=-1)[moved])).all()


def test_points_of_a_peak_are_told_where_it_was() -> None:
    now = front(settled(densities(peaked())), 0.2)
    points = torch.tensor([[0.0, 0.2, now], [0.0, 0.05, 0.2], [0.0, 0.2, 0.06]])
    before = before_settling(points)
    assert before[0, 2].item() == pytest.approx(0.16, abs=0.02)
    torch.testing.assert_close(before[1:], points[1:])
