"""Torn surfaces are made whole; what is whole stays where it is, and a face keeps its features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from surface_fields import LEVEL, ellipsoid_field

from tpn_engine.nets.box import Box
from tpn_engine.surface import MeshOptions, extract_mesh
from tpn_engine.surface.density import DEEP, Lattice
from tpn_engine.surface.isosurface import isosurface
from tpn_engine.surface.mend import BOTTOM, mend

STEEP, RADIUS = 5000.0, 0.25  # density for each EG3D unit from the surface
LATTICE = Lattice(128, Box())
X, Y, Z = np.meshgrid(*LATTICE.coordinates, indexing="ij")
BALL = RADIUS - np.sqrt(X**2 + Y**2 + Z**2)
EAR = np.hypot(Y - 0.02, Z)  # from the axis from ear to ear


def densities(distance: np.ndarray) -> np.ndarray:
    """Of what lies so far inside a surface, [X, Y, Z], as `surface_density` leaves them."""
    values = np.where(np.abs(distance) > 0.05, np.sign(distance) * DEEP, STEEP * distance)
    return (LEVEL + values).astype(np.float32)


def mended(distance: np.ndarray, lattice: Lattice = LATTICE) -> np.ndarray:
    """How far inside the mended surface the lattice's points lie, where that is near, [X, Y, Z]."""
    values = densities(distance)
    mend(values, lattice, LEVEL)
    return (values - LEVEL) / STEEP


def radii(distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The surface's vertices [N, 3] and how far each is from the middle, [N]."""
    vertices = isosurface(densities(distance), LATTICE, LEVEL)[0]
    return vertices, np.linalg.norm(vertices, axis=1)


def roughness(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """The area of a surface against that of its convex hull."""
    whole = trimesh.Trimesh(vertices, triangles, process=False)
    return float(whole.area / whole.convex_hull.area)


def test_pits_at_a_temple_are_closed() -> None:
    pits = np.minimum(np.abs((Y + 0.5) % 0.03 - 0.015), np.abs((Z + 0.5) % 0.03 - 0.015)) - 0.004
    torn = np.where((EAR < 0.1) & (X > 0), np.minimum(BALL, np.maximum(pits, BALL - 0.05)), BALL)
    before, after = (isosurface(densities(part), LATTICE, LEVEL) for part in (torn, mended(torn)))
    assert np.linalg.norm(before[0], axis=1).min() < RADIUS - 0.045
    assert np.linalg.norm(after[0], axis=1).min() > RADIUS - 0.025
    assert roughness(*before) > 1.15
    assert roughness(*after) < 1.01


def test_shreds_beside_a_temple_go() -> None:
    shreds = np.minimum(0.006 - np.abs((Y + 0.5) % 0.05 - 0.025), np.minimum(BALL + 0.05, 0.08 - EAR))
    torn = np.where(X > 0, np.maximum(BALL, shreds), BALL)
    assert radii(torn)[1].max() > RADIUS + 0.045
    assert radii(mended(torn))[1].max() < RADIUS + 0.012


def test_a_smooth_head_stays_as_it_is() -> None:
    assert np.abs(radii(mended(BALL))[1] - RADIUS).max() < 0.001


def test_a_face_keeps_its_features_and_loses_what_is_finer() -> None:
    def kept(length: float, x: float, y: float, front: float) -> float:
        """The part of waves of this length that is left around a place."""
        heights = []
        waves = 0.004 * np.cos(2 * np.pi * Y / length)
        for distance in (BALL + waves, mended(BALL + waves)):
            vertices, away = radii(distance)
            here = (np.hypot(vertices[:, 0] - x, vertices[:, 1] - y) < 0.03) & (vertices[:, 2] > front)
            heights.append(np.ptp(away[here]))
        return heights[1] / heights[0]

    temple = (0.24, 0.0, -0.1)
    assert kept(0.08, *temple) < 0.8
    for place in ((0.0, 0.0), (0.084, 0.078), (-0.084, 0.078), (0.0, -0.105)):  # nose, eyes, mouth
        assert kept(0.08, *place, 0.1) > 0.85
        assert kept(0.03, *place, 0.1) < 0.5


def test_pits_between_teeth_are_closed_half() -> None:
    pits = np.minimum(np.abs((X + 0.5) % 0.02 - 0.01), np.abs((Y + 0.5) % 0.02 - 0.01)) - 0.003
    teeth = (np.abs(X) < 0.05) & (np.abs(Y + 0.105) < 0.02) & (Z > 0)
    torn = np.where(teeth, np.minimum(BALL, np.maximum(pits, BALL - 0.03)), BALL)
    before, after = (RADIUS - radii(part)[1].min() for part in (torn, mended(torn)))
    assert before > 0.025
    assert after < 0.6 * before


def test_collars_are_left_to_what_settles_them() -> None:
    post = 0.15 - np.hypot(X, Z) + 0.01 * np.cos(2 * np.pi * Y / 0.03)
    below = LATTICE.coordinates[1] < BOTTOM[0]
    found, expected = (part[:, below].clip(-0.01, 0.01) for part in (mended(post), post))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("resolution", [48, 200])
def test_any_lattice_will_do(resolution: int) -> None:
    lattice = Lattice(resolution, Box(back=0.15), trim=3)
    x, y, z = np.meshgrid(*lattice.coordinates, indexing="ij")
    values = densities(RADIUS - np.sqrt(x**2 + y**2 + z**2))
    mend(values, lattice, LEVEL)
    away = np.linalg.norm(isosurface(values, lattice, LEVEL)[0], axis=1)
    assert np.abs(away - RADIUS).max() < 0.004


def test_nothing_above_the_collar_is_nothing_to_mend() -> None:
    values = densities(-0.4 - Y)
    mend(values, LATTICE, LEVEL)
    assert not (values[:, LATTICE.coordinates[1] > -0.38] > LEVEL).any()


def test_meshes_of_surfaces_are_mended() -> None:
    """An ellipsoid with waves along the side of a head, which are seen on that of a cloud alone."""
    field = ellipsoid_field("xy_xz_yz")
    axis = (np.arange(256) + 0.5) / 256 - 0.5
    waves = 0.12 * np.cos(2 * np.pi * axis / 0.024)
    field.planes[2, 0] += field.planes.new_tensor(waves[:, None] * (axis < 0.05))
    options = MeshOptions(resolution=128)
    cloud, surface = (extract_mesh(each, options) for each in (field, replace(field, surface=LEVEL)))
    assert roughness(cloud.vertices, cloud.triangles) > 1.08
    assert roughness(surface.vertices, surface.triangles) < 1.03
