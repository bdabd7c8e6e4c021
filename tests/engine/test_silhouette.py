"""A photo's matte bounds the head: nothing lies beside the person, from the pictures to the mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from surface_fields import ellipsoid_field

from tpn_engine.camera import Camera
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.surface.density import Lattice, dense_density, surface_density
from tpn_engine.surface.isosurface import isosurface
from tpn_engine.views import render_view

LEVEL, SIZE = 10.0, 128
CAMERA = Camera.orbit(20, 5, look_at=(0, 0, 0), focal=3.0)  # so that it sees all of the head
Find = Callable[[TriplaneField, Lattice], np.ndarray]


def disc(radius: float, size: int = SIZE) -> np.ndarray:
    """A matte [S, S] that shows a disc of `radius` picture widths."""
    places = (np.arange(size) + 0.5) / size - 0.5
    return (np.hypot(places[None], places[:, None]) < radius).astype(np.float32)


def silhouette(matte: np.ndarray) -> Silhouette:
    return Silhouette.of(matte, torch.from_numpy(CAMERA.label), LEVEL)


def radius_of(mask: np.ndarray) -> float:
    """Of the disc that covers as much, picture widths."""
    return float(np.sqrt(mask.mean() / np.pi))


def seen(points: np.ndarray) -> np.ndarray:
    """How far points [N, 3] are from the picture's middle, picture widths."""
    return np.linalg.norm(CAMERA.project(points.astype(np.float64))[:, :2] - 0.5, axis=1)


def test_the_bound_passes_the_level_on_the_outline() -> None:
    depth = 2.7
    across = np.array([0.15, 0.19, 0.2, 0.21, 0.25]) / CAMERA.intrinsics[0, 0] * depth
    points = CAMERA.position + depth * CAMERA.pose[:3, 2] + across[:, None] * CAMERA.pose[:3, 0]
    values = silhouette(disc(0.2)).bound(torch.from_numpy(points.astype(np.float32))) - LEVEL
    assert (values[:2] > 0).all()
    assert (values[3:] < 0).all()
    assert abs(values[2]) < 0.3 * values[1]


def test_a_soft_matte_tells_the_outline_to_a_part_of_a_pixel() -> None:
    radius, fine = 0.2031, 8
    matte = disc(radius, SIZE * fine).reshape(SIZE, fine, SIZE, fine).mean((1, 3))
    across = np.linspace(radius - 2 / SIZE, radius + 2 / SIZE, 400)
    turns = np.linspace(0, 2 * np.pi, 60)[:, None]
    image = np.stack([0.5 + across * np.cos(turns), 0.5 + across * np.sin(turns)], -1).reshape(-1, 2)
    rays = (image - 0.5) / CAMERA.intrinsics[0, 0]
    points = CAMERA.position + 2.7 * (CAMERA.pose[:3, 2] + rays @ CAMERA.pose[:3, :2].T)
    values = silhouette(matte).bound(torch.from_numpy(points.astype(np.float32))).view(60, 400)
    found = across[(values > LEVEL).sum(1) - 1]
    assert np.abs(found - radius).max() < 0.15 / SIZE


def test_a_head_that_is_too_wide_is_cut_to_the_matte() -> None:
    field = ellipsoid_field("xy_xz_yz")
    radius = 0.15
    assert (render_view(field, CAMERA, SIZE).mask | (disc(radius) == 0)).all()
    cut = render_view(replace(field, silhouette=silhouette(disc(radius))), CAMERA, SIZE).mask
    assert not (cut & (disc(radius + 1 / SIZE) == 0)).any()
    assert radius_of(cut) == pytest.approx(radius, abs=0.5 / SIZE)


def test_a_matte_that_shows_more_than_the_head_changes_nothing() -> None:
    field = ellipsoid_field("xy_xz_yz")
    bounded = replace(field, silhouette=silhouette(np.ones((SIZE, SIZE), np.float32)))
    np.testing.assert_array_equal(render_view(bounded, CAMERA, 64).rgb, render_view(field, CAMERA, 64).rgb)


def test_what_the_photo_does_not_show_is_left_as_it_is() -> None:
    close = Camera.orbit(0, 0, look_at=(0, 0, 0), focal=12.0)
    nobody = Silhouette.of(np.zeros((SIZE, SIZE), np.float32), torch.from_numpy(close.label), LEVEL)
    field = ellipsoid_field("xy_xz_yz")
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    image = close.project(points.double().numpy())[:, :2]
    shown = torch.from_numpy(((image >= 0) & (image <= 1)).all(1))
    whole, cut = field.density(points).flatten(), replace(field, silhouette=nobody).density(points).flatten()
    assert (whole[shown] > LEVEL).any()
    assert (whole[~shown] > LEVEL).any()
    assert (cut[shown] < LEVEL).all()
    torch.testing.assert_close(cut[~shown], whole[~shown])


def test_a_photo_without_a_person_leaves_no_head() -> None:
    field = replace(ellipsoid_field("xy_xz_yz"), silhouette=silhouette(np.zeros((SIZE, SIZE), np.float32)))
    assert not render_view(field, CAMERA, 64).mask.any()


@pytest.mark.parametrize(
    "find",
    [
        lambda field, lattice: dense_density(field, lattice).numpy(),
        lambda field, lattice: surface_density(field, lattice, LEVEL).values,
    ],
    ids=["dense", "surface"],
)
def test_the_mesh_ends_at_the_outline(find: Find) -> None:
    field = ellipsoid_field("xy_xz_yz")
    lattice = Lattice(96, field.box)
    whole, _ = isosurface(find(field, lattice), lattice, LEVEL)
    radius = 0.7 * float(seen(whole).max())
    vertices, _ = isosurface(find(replace(field, silhouette=silhouette(disc(radius))), lattice), lattice, LEVEL)
    assert seen(vertices).max() == pytest.approx(radius, abs=1 / SIZE)
    assert (seen(vertices) > radius - 0.5 / SIZE).sum() > 100


def test_a_smoothed_outline_loses_its_bends_and_keeps_its_place() -> None:
    angle = np.linspace(0, 2 * np.pi, 361)[:-1]
    places = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    turn = np.arctan2(places[:, None], places[None])
    wavy = (np.hypot(places[None], places[:, None]) < 0.25 + 0.012 * np.sin(30 * turn)).astype(np.float32)
    across = np.linspace(0.2, 0.3, 400)
    image = 0.5 + across[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)[:, None]
    rays = (image.reshape(-1, 2) - 0.5) / CAMERA.intrinsics[0, 0]
    points = CAMERA.position + 2.7 * (CAMERA.pose[:3, 2] + rays @ CAMERA.pose[:3, :2].T)

    def radii(bound: Silhouette) -> np.ndarray:
        inside = bound.bound(torch.from_numpy(points.astype(np.float32))).view(360, 400) > LEVEL
        return across[inside.sum(1).numpy() - 1]

    bent, smooth = radii(silhouette(wavy)), radii(silhouette(wavy).smoothed(1 / 50))
    assert smooth.std() < 0.3 * bent.std()
    assert smooth.mean() == pytest.approx(bent.mean(), abs=0.3 / SIZE)


def test_it_goes_with_its_field_to_a_device() -> None:
    field = replace(ellipsoid_field("xy_xz_yz"), silhouette=silhouette(disc(0.1)))
    points = torch.rand(500, 3) - 0.5
    there = field.to("cpu").density(points)
    torch.testing.assert_close(there, field.density(points))
    assert (there < replace(field, silhouette=None).density(points)).any()
