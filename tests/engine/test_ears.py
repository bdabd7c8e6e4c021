"""Bumps on the sides of heads become ears, heads without them stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from portrait_photos import astronaut

from tpn_engine import Engine
from tpn_engine.nets.box import Box
from tpn_engine.surface.density import DEEP, Lattice
from tpn_engine.surface.ear_places import EarPlace, find_ears, reach, side_reach
from tpn_engine.surface.ear_shape import MIDDLE, EarShape, within
from tpn_engine.surface.ears import EDGE, FACTORS, Ear, on_ears, raise_ear, raise_ears, shaded, smooth_edges
from tpn_engine.surface.isosurface import isosurface
from tpn_engine.surface.ready import ready_density
from tpn_engine.training.draws import draw

LEVEL, STEEP = 10.0, 5000.0
LATTICE = Lattice(160, Box())
X, Y, Z = np.meshgrid(*LATTICE.coordinates, indexing="ij")
HEAD = (0.17, 0.3, 0.28)  # half the width, height and depth of a head without ears, which lies behind the middle
BACK = -0.1
BARE_EARS, HIDDEN_EARS = 5, 2  # draws of the model in the package


def bare() -> np.ndarray:
    """Distances into an ellipsoid, roughly."""
    form = np.sqrt((X / HEAD[0]) ** 2 + (Y / HEAD[1]) ** 2 + ((Z - BACK) / HEAD[2]) ** 2)
    return HEAD[0] * (1 - form)


def bumped(out: float, side: int = 1) -> np.ndarray:
    """The same with a bump that stands `out` where an ear is."""
    form = within(Y - MIDDLE[0], Z - MIDDLE[1]) + ((np.abs(X) - HEAD[0] * 0.9) / (out + HEAD[0] * 0.1)) ** 2
    bump = out * (1 - np.sqrt(form))
    return np.maximum(bare(), np.where(X * side > 0, bump, -1))


def densities(distance: np.ndarray) -> np.ndarray:
    """As `surface_density` leaves them: known near the surface alone."""
    known = LEVEL + STEEP * distance
    return np.where(np.abs(distance) > 0.05, LEVEL + np.sign(distance) * DEEP, known).astype(np.float32)


def raised(values: np.ndarray, place: EarPlace) -> tuple[np.ndarray, Ear]:
    changed = values.copy()
    ear = raise_ear(changed, LATTICE, LEVEL, place)
    assert ear is not None
    return changed, ear


def outermost(values: np.ndarray, side: int = 1) -> np.ndarray:
    """How far out a side reaches within an ear's ellipse, as columns."""
    seen = values if side > 0 else values[::-1]
    inside = within(Y[0] - MIDDLE[0], Z[0] - MIDDLE[1]) < 1
    return reach(seen, LATTICE.coordinates[0], LEVEL)[inside]


def test_an_ear_stands_out_as_far_as_the_bump_did() -> None:
    for out in (0.03, 0.045):
        before = densities(bumped(out))
        after, ear = raised(before, EarPlace(1))
        assert np.nanmax(outermost(after)) == pytest.approx(np.nanmax(outermost(before)), abs=0.007)
        assert FACTORS[0] < ear.out.mean() < FACTORS[1]
    assert outermost(after).max() - HEAD[0] > 0.02


def test_it_has_folds_which_the_bump_had_not() -> None:
    before = densities(bumped(0.04))
    after, _ = raised(before, EarPlace(1))

    def roughness(values: np.ndarray) -> float:
        vertices, triangles = isosurface(values, LATTICE, LEVEL)
        here = (within(vertices[:, 1] - MIDDLE[0], vertices[:, 2] - MIDDLE[1]) < 0.8) & (vertices[:, 0] > 0.1)
        corners = vertices[triangles[here[triangles].all(1)]]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return float(np.abs(normals[:, 2]).sum() / np.abs(normals[:, 0]).sum())

    assert roughness(after) > 1.5 * roughness(before)
    shape = EarShape.shipped()
    solid = shape.distance < 0
    assert (solid[1:] & ~solid[:-1]).any(), "nothing of an ear has air behind it"


def test_the_rest_of_the_head_stays_and_the_other_side_is_its_mirror_image() -> None:
    before = densities(bumped(0.04))
    after, ear = raised(before, EarPlace(1))
    beside = within(Y - MIDDLE[0], Z - MIDDLE[1]) >= EDGE[1]
    np.testing.assert_array_equal(after[beside | (X < 0)], before[beside | (X < 0)])
    other, mirrored = raised(before[::-1].copy(), EarPlace(-1))
    near = np.abs(after - LEVEL) < STEEP * 0.005
    np.testing.assert_allclose(other[::-1][near], after[near], atol=STEEP * 1e-4)
    vertices = isosurface(after, LATTICE, LEVEL)[0]
    np.testing.assert_allclose(mirrored.share(vertices * (-1, 1, 1)), ear.share(vertices), atol=1e-5)


def test_an_ear_is_where_it_is_put() -> None:
    moved = EarPlace(1, up=0.03, forward=0.02, larger=0.1, turned=0.1)
    values, ear = raised(densities(bare()), moved)
    vertices = isosurface(values, LATTICE, LEVEL)[0]
    out = vertices[:, 0] - HEAD[0] * np.sqrt(
        np.maximum(1 - (vertices[:, 1] / HEAD[1]) ** 2 - ((vertices[:, 2] - BACK) / HEAD[2]) ** 2, 0)
    )
    ears = vertices[(out > 0.008) & (vertices[:, 0] > 0)]
    assert len(ears) > 100
    assert ear.share(ears).min() > 0
    still, _ = raised(densities(bare()), EarPlace(1))
    again = isosurface(still, LATTICE, LEVEL)[0]
    assert ears[:, 1].max() > again[(again[:, 0] > HEAD[0] + 0.008), 1].max() + 0.02


def test_no_head_no_ear() -> None:
    values = np.full(X.shape, LEVEL - DEEP, np.float32)
    before = values.copy()
    assert raise_ear(values, LATTICE, LEVEL, EarPlace(1)) is None
    np.testing.assert_array_equal(values, before)
    trimmed = Lattice(160, Box(), trim=70)
    small = densities(bare())[70:-70, 70:-70, 70:-70]
    assert raise_ear(small, trimmed, LEVEL, EarPlace(1)) is None


def test_edges_are_smoothed_and_nothing_else() -> None:
    values, ear = raised(densities(bumped(0.04)), EarPlace(1))
    vertices, triangles = isosurface(values, LATTICE, LEVEL)
    smooth = smooth_edges(vertices, triangles, [ear])
    share = on_ears(vertices, [ear])
    np.testing.assert_array_equal(smooth[share == 0], vertices[share == 0])

    def bend(points: np.ndarray) -> float:
        solid = trimesh.Trimesh(points, triangles, process=False)
        own = (share[triangles] > 0.9).all(1)[solid.face_adjacency].all(1)
        return float(np.percentile(solid.face_adjacency_angles[own], 95))

    assert bend(smooth) < 0.9 * bend(vertices)
    assert np.abs(smooth - vertices).max() < 2 * LATTICE.step[0]
    assert smooth_edges(vertices, triangles, []) is vertices


def test_folds_are_darker_and_open_skin_is_not() -> None:
    values, ear = raised(densities(bumped(0.04)), EarPlace(1))
    vertices = isosurface(values, LATTICE, LEVEL)[0]
    colors = np.ones_like(vertices)
    dark = shaded(colors, vertices, [ear])
    np.testing.assert_array_equal(dark[on_ears(vertices, [ear]) == 0], 1)
    own = on_ears(vertices, [ear]) > 0.99
    assert dark[own].min() < 0.6
    assert np.median(dark[own]) > 0.75
    np.testing.assert_array_equal(shaded(colors, vertices, []), colors)
    assert on_ears(vertices, []).max() == 0


def test_sides_are_seen_alike_at_every_resolution() -> None:
    lattices = (LATTICE, Lattice(96, Box(back=0.1)))
    seen = []
    for lattice in lattices:
        x, y, z = np.meshgrid(*lattice.coordinates, indexing="ij")
        form = np.sqrt((x / HEAD[0]) ** 2 + (y / HEAD[1]) ** 2 + ((z - BACK) / HEAD[2]) ** 2)
        seen.append(side_reach(densities(HEAD[0] * (1 - form)), lattice, LEVEL, 1))
    np.testing.assert_allclose(*seen, atol=2e-3)
    assert seen[0].max() == pytest.approx(HEAD[0], abs=2e-3)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(device="cpu")


def test_hair_over_ears_gets_none(engine: Engine) -> None:
    capture = engine.capture(astronaut())
    lattice = Lattice(128, capture.field.box)
    density = ready_density(capture.field, lattice, capture.iso_level, capture.photo)
    assert find_ears(density, lattice, capture.iso_level) == []
    drawn = draw(engine.model, HIDDEN_EARS)
    assert find_ears(ready_density(drawn, lattice, capture.iso_level, None), lattice, capture.iso_level) == []


def test_a_head_whose_ears_show_gets_both(engine: Engine) -> None:
    field = draw(engine.model, BARE_EARS)
    level = engine.model.preset.iso_level
    lattice = Lattice(128, field.box)
    density = ready_density(field, lattice, level, None)
    ears = raise_ears(density, lattice, level)
    assert [ear.place.side for ear in ears] == [1, -1]
    assert all(abs(ear.place.up) < 0.06 and abs(ear.place.larger) < 0.3 for ear in ears)
    vertices = isosurface(density, lattice, level)[0]
    for ear in ears:
        own = vertices[ear.share(vertices) > 0.9]
        assert np.ptp(own[:, 0]) > 0.02
