"""A face has its landmarks' relief, lies where the model has it, and the rest of the head stays."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tpn_engine.camera import Camera
from tpn_engine.nets.box import Box
from tpn_engine.surface.density import DEEP, Lattice
from tpn_engine.surface.isosurface import isosurface
from tpn_engine.surface.raster import rasterize
from tpn_engine.surface.relief import BLENDED, raise_relief

LEVEL, STEEP, SIZE = 10.0, 5000.0, 256
LATTICE = Lattice(160, Box())
X, Y, Z = np.meshgrid(*LATTICE.coordinates, indexing="ij")
HALF_AXES = np.array((0.2, 0.26, 0.22))  # of an egg
LINE = 0.008  # EG3D units, half the height of a ridge that stands for lips


def egg(finer: np.ndarray | float = 0.0) -> np.ndarray:
    """Densities [X, Y, Z] of an egg that `finer` is added to in front, as `surface_density` leaves them."""
    away = np.sqrt((X / HALF_AXES[0]) ** 2 + (Y / HALF_AXES[1]) ** 2 + (Z / HALF_AXES[2]) ** 2)
    distance = (1 - away) * 0.2 + np.where(Z > 0, finer, 0)
    values = np.where(np.abs(distance) > 0.05, np.sign(distance) * DEEP, STEEP * distance)
    return (LEVEL + values).astype(np.float32)


def lips(y: np.ndarray, smeared: float = 0.0) -> np.ndarray:
    """A ridge across the face, EG3D units, under a Gaussian of this standard deviation."""
    width = np.hypot(LINE, smeared)
    return 0.012 * LINE / width * np.exp(-(((y + 0.05) / width) ** 2) / 2)


def landmarks(camera: Camera, stretch: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """Of the egg with lips: where the picture has points of its front, and how deep relative to their distance."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(-0.12, 0.12, 21), np.linspace(-0.16, 0.16, 41)))
    z = HALF_AXES[2] * np.sqrt(1 - (x / HALF_AXES[0]) ** 2 - (y / HALF_AXES[1]) ** 2) + lips(y)
    projected = camera.project(np.stack([x, y, z], axis=1))
    depth = projected[:, 2] * camera.intrinsics[0, 0] / np.median(projected[:, 2])
    return np.concatenate([projected[:, :2], stretch * depth[:, None] + shift], axis=1)


def raised(values: np.ndarray, camera: Camera, found: np.ndarray) -> np.ndarray:
    changed = values.copy()
    raise_relief(changed, LATTICE, LEVEL, camera, found)
    return changed


def depth(values: np.ndarray, camera: Camera) -> np.ndarray:
    """As far as `camera` sees the surface, [S, S]; 0 beside it."""
    seen = rasterize(*isosurface(values, LATTICE, LEVEL), camera, SIZE).depth
    return np.where(np.isfinite(seen), seen, 0)


def in_face(camera: Camera, reach: float = 0.08) -> np.ndarray:
    """Pixels [S, S] around the middle of the face."""
    row, column = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    u, v = camera.project(np.array([[0.0, 0.0, HALF_AXES[2]]]))[0, :2]
    scale = camera.intrinsics[0, 0] / np.linalg.norm(camera.position)
    return np.hypot(column - u, row - v) < reach * scale


@pytest.mark.parametrize("yaw", [0.0, 25.0])
def test_a_smeared_face_gets_its_landmarks_lips(yaw: float) -> None:
    camera = Camera.orbit(yaw, 0)
    truth, plain = egg(lips(Y)), egg(lips(Y, BLENDED))
    face = in_face(camera)
    found = raised(plain, camera, landmarks(camera))
    before, after = (np.abs(depth(part, camera) - depth(truth, camera))[face] for part in (plain, found))
    assert before.max() > 0.005
    assert np.sqrt((after**2).mean()) < 0.6 * np.sqrt((before**2).mean())


def test_how_far_the_face_lies_is_the_models() -> None:
    camera = Camera.orbit(0, 0)
    values, face = egg(lips(Y)), in_face(camera)
    for found in (landmarks(camera, shift=0.3), landmarks(camera, stretch=0.8), landmarks(camera, stretch=1.2)):
        off = np.abs(depth(raised(values, camera, found), camera) - depth(values, camera))[face]
        assert np.median(off) < 0.001
        assert off.max() < 0.006


def test_shreds_of_a_face_are_gone() -> None:
    camera = Camera.orbit(0, 0)
    shreds = 0.012 * np.sign(np.sin(2 * np.pi * X / 0.02)) * (np.abs(Y + 0.05) < 0.04)
    face, truth = in_face(camera), depth(egg(lips(Y)), camera)
    torn = egg(lips(Y) + shreds)
    before, after = (
        np.abs(depth(part, camera) - truth)[face] for part in (torn, raised(torn, camera, landmarks(camera)))
    )
    assert np.percentile(before, 90) > 0.01
    assert np.percentile(after, 90) < 0.35 * np.percentile(before, 90)


def test_beside_and_behind_the_face_nothing_changes() -> None:
    camera = Camera.orbit(0, 0)
    values = egg(0.01 * np.cos(2 * np.pi * Y / 0.03))
    found = raised(values, camera, landmarks(camera))
    assert (found != values).any()
    beside = (Z < 0) | (np.abs(X) > 0.15) | (np.abs(Y) > 0.19)
    np.testing.assert_array_equal(found[beside], values[beside])


def test_landmarks_beside_the_head_change_nothing() -> None:
    camera = Camera.orbit(0, 0)
    values, found = egg(), landmarks(camera)
    found[:, 0] += 0.45
    np.testing.assert_array_equal(raised(values, camera, found), values)


def test_pictures_places_lead_back_to_their_points() -> None:
    camera = Camera.orbit(25, 10)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (20, 3))
    projected = camera.project(points)
    np.testing.assert_allclose(camera.unproject(projected[:, :2], projected[:, 2]), points, atol=1e-5)


def test_landmarks_at_one_place_do_no_harm() -> None:
    camera = Camera.orbit(0, 0)
    values, found = egg(), landmarks(camera)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        twice = raised(values, camera, np.concatenate([found, found[:50]]))
    once = raised(values, camera, found)
    np.testing.assert_allclose(depth(twice, camera), depth(once, camera), atol=1e-3)
