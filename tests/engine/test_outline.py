"""A head that is a little wider or narrower than its photo's matte is drawn to it and stays round."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from surface_fields import ellipsoid_field

from tpn_engine.camera import Camera
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.portrait.portrait import Surroundings
from tpn_engine.surface import HeadMesh, MeshOptions, Photo, extract_mesh
from tpn_engine.surface.outline import drawn_to_outline
from tpn_engine.surface.raster import rasterize

LEVEL, SIZE = 10.0, 256
CAMERA = Camera.orbit(15, 5, look_at=(0, 0, 0), focal=3.0)  # so that it sees all of the head
ROUND = Camera.orbit(0, 0, look_at=(0, 0, 0), focal=3.0)


def ball(radius: float, count: int = 40000) -> np.ndarray:
    """Points [N, 3] spread evenly over a sphere around the origin."""
    turn = np.arange(count) * np.pi * (1 + 5**0.5)
    height = 1 - (2 * np.arange(count) + 1) / count
    level = np.sqrt(1 - height**2)
    points = radius * np.stack([np.cos(turn) * level, height, np.sin(turn) * level], 1)
    return points.astype(np.float32)


def disc(radius: float) -> np.ndarray:
    """A matte [S, S] that shows a disc of `radius` picture widths."""
    places = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    return (np.hypot(places[None], places[:, None]) < radius).astype(np.float32)


def outline(matte: np.ndarray, camera: Camera = ROUND) -> Silhouette:
    return Silhouette.of(matte, torch.from_numpy(camera.label), LEVEL)


def seen(points: np.ndarray, camera: Camera = ROUND) -> np.ndarray:
    """How far points [N, 3] are from the picture's middle, picture widths."""
    return np.linalg.norm(camera.project(points.astype(np.float64))[:, :2] - 0.5, axis=1)


@pytest.mark.parametrize("off", [0.02, 0.01, -0.008])
def test_the_sides_end_at_the_outline_and_stay_round(off: float) -> None:
    points = ball(0.25)
    radius = float(seen(points).max()) - off
    moved = drawn_to_outline(points, outline(disc(radius)), None)
    assert seen(moved).max() == pytest.approx(radius, abs=0.5 / SIZE)
    # A wall would show many points on the outline: a ball cut by so much has a belt of this depth, all of it there.
    on_rim = seen(moved) > radius - 0.5 / SIZE
    belt = np.sqrt(2 * 0.25 * 0.02 * 2.7 / 3.0)
    assert np.ptp(moved[on_rim, 2]) < belt
    inner = seen(points) < radius - 0.08
    np.testing.assert_allclose(moved[inner], points[inner], atol=1e-6)


def around(matte: np.ndarray) -> Photo:
    """A picture half as wide again as the crop, its matte [3/2 S, 3/2 S]."""
    nothing = np.zeros(0)
    camera = Surroundings(nothing, nothing, nothing, 1.5).camera(ROUND)
    return Photo(np.zeros((*matte.shape, 3), np.float32), matte, camera, 1.5)


def test_the_outline_is_the_same_in_a_wider_picture() -> None:
    points = ball(0.25)
    matte = disc(float(seen(points).max()) - 0.02)
    wide = around(np.pad(matte, SIZE // 4)).silhouette(LEVEL, torch.device("cpu"))
    crop = outline(matte)
    moved = [drawn_to_outline(points, one, None) for one in (crop, wide)]
    assert np.abs(moved[0] - points).max() > 0.01
    np.testing.assert_allclose(moved[1], moved[0], atol=5e-4)
    places = torch.from_numpy(np.random.default_rng(0).uniform(-0.25, 0.25, (500, 3)).astype(np.float32))
    bounds = [one.bound(places).clamp(-1e4, 1e4) for one in (crop, wide)]
    torch.testing.assert_close(bounds[1], bounds[0], atol=100.0, rtol=0.02)


def test_a_wider_picture_bounds_what_leaves_the_crop_but_not_what_the_photo_does_not_show() -> None:
    high = torch.tensor([[0.0, 0.48, 0.0], [0.0, 0.0, 0.0]])
    assert torch.isinf(outline(disc(0.4)).bound(high)[0])
    matte = np.pad(disc(0.4), SIZE // 4)
    wide = around(matte)
    bound = wide.silhouette(LEVEL, torch.device("cpu")).bound(high)
    assert bound[0] < LEVEL < bound[1]
    shown = np.arange(len(matte))[:, None] + np.zeros(len(matte)) > SIZE // 4
    unknown = replace(wide, shown=shown).silhouette(LEVEL, torch.device("cpu")).bound(high)
    assert (unknown > LEVEL).all()


def test_moves_grow_toward_the_outline_without_a_fold() -> None:
    points = ball(0.25)
    whole = float(seen(points).max())
    moved = drawn_to_outline(points, outline(disc(whole - 0.028)), None)
    bands = np.digitize(seen(points), np.arange(0, whole, 0.004))
    places = [seen(moved)[bands == band].mean() for band in np.unique(bands)]
    assert (np.diff(places) > 0).all()


def test_far_wider_than_the_outline_is_moved_by_no_more_than_the_limit() -> None:
    points = ball(0.25)
    moves = drawn_to_outline(points, outline(disc(float(seen(points).max()) - 0.1)), None) - points
    farthest = CAMERA.intrinsics[0, 0] / (2.7 + 0.25)  # widths a unit is wide at the ball's far side
    assert np.linalg.norm(moves, axis=1).max() < 0.031 / farthest


def test_a_photo_full_of_the_person_moves_nothing() -> None:
    points = ball(0.25)
    np.testing.assert_array_equal(drawn_to_outline(points, outline(np.ones((SIZE, SIZE), np.float32)), None), points)


def test_a_cut_neck_stays_level() -> None:
    points = ball(0.25)
    floor = float(points[:, 1].min())
    camera = Camera.orbit(0, -30, look_at=(0, 0, 0), focal=3.0)
    narrow = outline(disc(float(seen(points, camera).max()) - 0.02), camera)
    low = points[:, 1] < floor + 0.004
    assert (drawn_to_outline(points, narrow, None)[low, 1] > floor + 1e-3).any()
    np.testing.assert_allclose(drawn_to_outline(points, narrow, floor)[low, 1], points[low, 1], atol=1e-6)


def test_a_mesh_is_drawn_to_the_outline_where_a_field_is_cut() -> None:
    field = ellipsoid_field("xy_xz_yz")
    whole = extract_mesh(field, MeshOptions(resolution=96))
    matte = disc(float(seen(whole.vertices, CAMERA).max()) - 0.02)
    bounded = replace(field, silhouette=outline(matte, CAMERA))
    mesh = extract_mesh(bounded, MeshOptions(resolution=96))
    assert len(mesh.vertices) == pytest.approx(len(whole.vertices), rel=0.05)
    columns, rows = (CAMERA.project(mesh.vertices.astype(np.float64))[:, :2] * SIZE).astype(int).T
    beyond = disc(float(seen(whole.vertices, CAMERA).max()) - 0.02 + 2 / SIZE)[rows, columns] == 0
    assert not beyond.any()


@pytest.mark.parametrize("pixels", [4, 2, -1])
def test_a_mesh_is_no_smaller_than_its_matte(pixels: int) -> None:
    """A smoothed outline lies inside a round one."""
    field = ellipsoid_field("xy_xz_yz")

    def shown(mesh: HeadMesh) -> np.ndarray:
        return np.isfinite(rasterize(mesh.vertices, mesh.triangles, CAMERA, SIZE).depth)

    options = MeshOptions(resolution=96)
    whole = shown(extract_mesh(field, options))
    change = ndimage.binary_erosion if pixels > 0 else ndimage.binary_dilation
    matte = change(whole, ndimage.generate_binary_structure(2, 1), iterations=abs(pixels))
    drawn = shown(extract_mesh(replace(field, silhouette=outline(matte.astype(np.float32), CAMERA)), options))
    assert 1 <= drawn.sum() / matte.sum() < 1.006
