"""A face's finest relief: spread out flat, learned, and put on a mesh along the rays of the photo's camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from safetensors.torch import load_file

from tpn_engine.camera import Camera
from tpn_engine.nets.displacement_net import UNIT, DisplacementNet
from tpn_engine.portrait.pose import world_landmarks
from tpn_engine.standard_face import EG3D_FACE
from tpn_engine.surface import displacement
from tpn_engine.surface.colors import Photo
from tpn_engine.surface.displacement import Displacement, displaced, flat_face
from tpn_engine.surface.flat_face import FlatFace
from tpn_engine.surface.raster import rasterize
from tpn_engine.training.displacement import BATCH, Batch, off, train, write_net
from tpn_engine.training.pictures import PixelView
from tpn_engine.training.relief_examples import example, flat_layout

CAMERA = Camera.orbit(0, 0)
SIZE = 256


def face() -> tuple[np.ndarray, np.ndarray]:
    """A mesh of some 20,000 vertices in front of which the standard face lies."""
    sphere = trimesh.creation.icosphere(6)
    return (sphere.vertices * (0.2, 0.26, 0.19)).astype(np.float32), np.asarray(sphere.faces)


def landmarks(camera: Camera) -> np.ndarray:
    """Where a picture has the standard face's, and how deep."""
    seen = camera.project(world_landmarks(EG3D_FACE))
    deep = camera.intrinsics[0, 0] * seen[:, 2:] / np.median(seen[:, 2])
    return np.concatenate([seen[:, :2], deep], axis=1)


def photo(camera: Camera) -> Photo:
    random = np.random.default_rng(3).random((SIZE, SIZE, 3), np.float32)
    return Photo(random, np.ones((SIZE, SIZE), np.float32), camera, landmarks=landmarks(camera))


def test_a_face_is_spread_out_and_gathered_again() -> None:
    flat = flat_layout()
    row, column = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    picture = np.sin(9 * column) + row
    spread = flat.spread(picture, landmarks(CAMERA))
    assert 0.4 < flat.covered.mean() < 0.9
    assert not spread[~flat.covered].any()
    back, depth = flat.gathered(spread, world_landmarks(EG3D_FACE), CAMERA, SIZE)
    inner = rasterize(world_landmarks(EG3D_FACE) * 0.9, flat.triangles, CAMERA, SIZE).triangle >= 0
    inner &= np.isfinite(depth)
    assert inner.mean() > 0.1
    np.testing.assert_allclose(back[inner], picture[inner], atol=0.03)


def test_the_net_in_the_package_sees_faces_as_it_was_taught() -> None:
    np.testing.assert_allclose(flat_face().places, flat_layout().places, atol=1e-6)


@pytest.mark.parametrize("yaw", [0.0, 25.0])
def test_vertices_move_along_the_rays_of_the_camera(yaw: float, monkeypatch: pytest.MonkeyPatch) -> None:
    camera, (vertices, triangles) = Camera.orbit(yaw, 0), face()
    depth = rasterize(vertices, triangles, camera, SIZE).depth
    row, column = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    bump = 0.01 * np.exp(-(np.hypot(row - 0.5, column - 0.5) ** 2) / 0.002)
    monkeypatch.setattr(displacement, "read_displacement", lambda *_: Displacement(camera, bump, depth))
    moved, kept, placed = displaced(vertices, triangles, vertices, photo(camera), finer=False)
    before, after = (camera.project(points) for points in (vertices, moved))
    np.testing.assert_allclose(after[:, :2], before[:, :2], atol=1e-5)
    farther = after[:, 2] - before[:, 2]
    assert farther.max() == pytest.approx(0.01, rel=0.02)
    away = vertices @ camera.position < 0
    np.testing.assert_array_equal(moved[away], vertices[away])  # what the camera can't see stays
    np.testing.assert_array_equal(kept, triangles)
    np.testing.assert_array_equal(placed, moved)  # coloured as what lies where they come to lie


def test_edges_are_split_where_they_cannot_hold_the_relief(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, triangles = face()
    depth = rasterize(vertices, triangles, CAMERA, SIZE).depth
    column = np.broadcast_to((np.arange(SIZE) + 0.5) / SIZE, (SIZE, SIZE))
    step = np.where(np.abs(column - 0.5) < 0.1, 0.004 * (column > 0.5), 0)
    monkeypatch.setattr(displacement, "read_displacement", lambda *_: Displacement(CAMERA, step, depth))
    moved, split, placed = displaced(vertices, triangles, 2 * vertices, photo(CAMERA), finer=True)
    assert len(vertices) < len(moved) < 1.5 * len(vertices)
    assert len(placed) == len(moved)
    moves = moved[: len(vertices)] - vertices
    np.testing.assert_allclose(placed[: len(vertices)], 2 * vertices + moves, atol=1e-6)
    assert trimesh.Trimesh(moved, split, process=False).is_watertight
    added = CAMERA.project(moved[len(vertices) :])[:, 0]
    assert (np.abs(added - 0.5) < 0.12).all()


def test_an_example_tells_how_much_farther_a_face_lies() -> None:
    made, triangles = face()
    true = made.copy()
    nose = np.exp(-(np.hypot(made[:, 0], made[:, 1]) ** 2) / 2 / 0.01**2) * (made[:, 2] > 0)
    true[:, 2] += 0.008 * nose
    depth = rasterize(true, triangles, CAMERA, SIZE).depth
    rgb = np.full((SIZE, SIZE, 3), 128, np.uint8)
    alpha = np.isfinite(depth).astype(np.float32)
    view = PixelView(rgb, alpha, np.where(np.isfinite(depth), depth, 0).astype(np.float32), CAMERA)
    flat = flat_layout()
    told = example((made, triangles), (true, triangles), view, landmarks(CAMERA), flat)
    assert told["known"].sum() > 0.6 * flat.covered.sum()
    assert not told["known"][~flat.covered].any()
    assert told["farther"].astype(np.float64).min() == pytest.approx(-0.007, abs=0.0015)
    assert np.median(np.abs(told["farther"][told["known"]])) < 0.001
    assert told["picture"].shape == (*flat.covered.shape, 3)


def batch(count: int, size: int = 32) -> Batch:
    """Pictures whose bright blobs lie farther away."""
    random = torch.Generator().manual_seed(5)
    place = torch.rand(count, 2, 1, 1, generator=random) * 2 - 1
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    blob = torch.exp(-((y - place[:, 0]) ** 2 + (x - place[:, 1]) ** 2) / 0.1)
    picture = 0.3 + 0.5 * blob[:, None].expand(-1, 3, -1, -1)
    return Batch(picture, torch.zeros_like(blob), 2 * UNIT * blob, torch.ones_like(blob))


def test_a_net_learns_from_pictures_and_is_kept(tmp_path: Path) -> None:
    covered, examples = torch.ones(32, 32, dtype=torch.bool), batch(64)
    before, after = off(train(examples, covered, 60), batch(BATCH), covered)
    assert after < 0.6 * before
    net, flat = DisplacementNet(), FlatFace.of(np.random.default_rng(0).random((9, 2)), 16)
    assert off(net.eval(), examples, covered)[1] == pytest.approx(off(net, examples, covered)[0])  # new, it answers 0
    write_net(net, flat, tmp_path / "net.safetensors")
    kept = load_file(tmp_path / "net.safetensors")
    torch.testing.assert_close(kept.pop("places").double(), torch.from_numpy(flat.places), atol=1e-6, rtol=0)
    assert set(kept) == set(net.state_dict())
