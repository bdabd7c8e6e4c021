"""Densities on a lattice against the field itself, and the surface's against the dense ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from surface_fields import crossed_level, ellipsoid_field, random_field

from tpn_engine.errors import CancelledError, ModelError
from tpn_engine.nets.box import Box
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.presets import PlaneAxes
from tpn_engine.progress import Progress
from tpn_engine.surface.density import Lattice, dense_density, surface_density
from tpn_engine.surface.isosurface import isosurface

AXES: tuple[PlaneAxes, ...] = ("xy_xz_zx", "xy_xz_yz")


def brute_force(field: TriplaneField, lattice: Lattice) -> np.ndarray:
    axes = torch.from_numpy(lattice.coordinates.astype(np.float32))
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    return field.density(points.view(-1, 3)).view(points.shape[:3]).numpy()


def test_a_lattice_reaches_both_faces_of_the_box():
    box = Box(1.2, back=0.1)
    lattice = Lattice(65, box)
    np.testing.assert_allclose(lattice.coordinates[:, 0], (-0.6, -0.6, -0.7))
    np.testing.assert_allclose(lattice.coordinates[:, -1], (0.6, 0.6, 0.6))
    np.testing.assert_allclose(np.diff(lattice.coordinates), np.repeat(lattice.step[:, None], 64, axis=1))
    np.testing.assert_array_equal(Lattice(65, box, trim=7).coordinates, lattice.coordinates[:, 7:-7])


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("planes", [3, 4])
@pytest.mark.parametrize(("resolution", "trim"), [(48, 0), (61, 5)])
def test_dense_density_is_the_field_at_every_lattice_point(axes: PlaneAxes, planes: int, resolution: int, trim: int):
    field, lattice = random_field(axes, seed=3, count=planes), Lattice(resolution, Box(), trim)
    expected = brute_force(field, lattice)
    np.testing.assert_allclose(dense_density(field, lattice).numpy(), expected, atol=2e-5 * np.ptp(expected))


@pytest.mark.parametrize("gain", [6.0, 16.0])
def test_large_pre_activations_neither_overflow_nor_lose_precision(gain: float):
    field, lattice = random_field("xy_xz_yz", seed=5, gain=gain), Lattice(33, Box())
    exact = TriplaneField(field.planes.double(), field.decoder.double(), field.axes, field.box)
    points = torch.stack(torch.meshgrid(*torch.from_numpy(lattice.coordinates), indexing="ij"), dim=-1).view(-1, 3)
    expected = exact.density(points).view(33, 33, 33)
    found = dense_density(random_field("xy_xz_yz", seed=5, gain=gain), lattice)
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("planes", [3, 4])
@pytest.mark.parametrize(("seed", "detail", "resolution"), [(0, 3, 90), (1, 6, 97), (2, 20, 64), (4, 2, 70)])
def test_the_surface_from_chosen_blocks_is_the_dense_one(
    axes: PlaneAxes, planes: int, seed: int, detail: int, resolution: int
):
    field, lattice = random_field(axes, seed, detail, count=planes), Lattice(resolution, Box())
    level = crossed_level(field)
    dense = dense_density(field, lattice).numpy()
    sparse = surface_density(field, lattice, level)
    np.testing.assert_array_equal(sparse.values > level, dense > level)

    vertices, triangles = isosurface(sparse.values, lattice, level)
    expected_vertices, expected_triangles = isosurface(dense, lattice, level)
    np.testing.assert_array_equal(triangles, expected_triangles)
    np.testing.assert_allclose(vertices, expected_vertices, atol=1e-4 * lattice.step[0], rtol=0)


@pytest.mark.parametrize("axes", AXES)
def test_the_surface_is_that_of_the_field_at_every_lattice_point(axes: PlaneAxes):
    field, lattice = ellipsoid_field(axes), Lattice(64, Box())
    vertices, triangles = isosurface(surface_density(field, lattice, 10.0).values, lattice, 10.0)
    expected_vertices, expected_triangles = isosurface(brute_force(field, lattice), lattice, 10.0)
    np.testing.assert_array_equal(triangles, expected_triangles)
    # this field is a difference of large numbers, and some edges nearly touch the surface
    np.testing.assert_allclose(vertices, expected_vertices, atol=3e-4 * lattice.step[0], rtol=0)


def test_blocks_away_from_the_surface_are_not_computed():
    assert surface_density(ellipsoid_field("xy_xz_yz"), Lattice(128, Box()), 10.0).evaluated < 0.2


def test_planes_with_nan_are_refused():
    field = random_field("xy_xz_yz", seed=0)
    field.planes[1, 2, 3, 4] = torch.nan
    with pytest.raises(ModelError, match="not numbers"):
        surface_density(field, Lattice(32, Box()), 0.0)


def test_density_can_be_cancelled():
    field = random_field("xy_xz_yz", seed=0)
    with pytest.raises(CancelledError):
        dense_density(field, Lattice(32, Box()), Progress(cancelled=lambda: True))
