"""The model in the package on a real photo: one closed head whose surface is where its renders see it."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
import trimesh
from PIL import Image

from tpn_engine import Capture, Engine, HeadMesh
from tpn_engine.camera import Camera
from tpn_engine.checkpoints import load_model
from tpn_engine.nets.presets import synthetic_heads
from tpn_engine.nets.volume import rays
from tpn_engine.portrait.landmark_error import landmark_error
from tpn_engine.portrait.landmarks import PRESENCE, FaceLandmarker, Region
from tpn_engine.portrait.pose import fit_camera
from tpn_engine.views import render_view

FACE = synthetic_heads().face
HEAD_SIZE = 0.62  # EG3D units from chin to crown of an average adult head


@pytest.fixture(scope="module")
def capture() -> Capture:
    return Engine.load(device="cpu").capture(Image.fromarray(skimage.data.astronaut()))


@pytest.fixture(scope="module")
def mesh(capture: Capture) -> HeadMesh:
    return capture.mesh(192, colors="model")


@pytest.fixture(scope="module")
def solid(mesh: HeadMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.vertices, mesh.triangles, process=False)


def test_source_render_looks_like_the_photo(capture: Capture) -> None:
    rendered = np.asarray(capture.render(size=64), np.float32) / 255
    crop = np.asarray(Image.fromarray(capture.crop).resize((64, 64), Image.Resampling.BOX), np.float32) / 255
    matte = np.asarray(Image.fromarray(capture.matte).resize((64, 64), Image.Resampling.BOX), np.float32) / 255
    person, seen = crop * matte[..., None], matte > 0.5
    error = np.abs(rendered - person)[seen].mean()
    flat = np.abs(person[seen].mean(0) - person)[seen].mean()
    upside_down = np.abs(rendered[::-1] - person)[seen].mean()
    assert error < 0.85 * flat
    assert error < 0.95 * upside_down


def test_the_face_is_where_the_photo_has_it(capture: Capture) -> None:
    seen, photo = (np.asarray(picture, np.float32) / 255 for picture in (capture.render(), capture.crop))
    error = landmark_error(FaceLandmarker(torch.device("cpu")), seen, photo, capture.camera, FACE)
    assert error is not None
    assert error < 7  # per cent of the distance between the eyes; the pivot alone has 9


def test_the_weights_say_where_faces_stand() -> None:
    assert load_model("synthetic-heads").preset.face == FACE


@pytest.mark.parametrize("yaw", [-25, 0, 25])
def test_a_photo_of_the_head_would_be_placed_where_the_head_is(capture: Capture, yaw: int) -> None:
    camera = Camera.orbit(yaw, 0, look_at=(0, 0, 0))
    picture = render_view(capture.field, camera, size=512, rendering=capture.rendering).rgb
    landmarks, presence = FaceLandmarker(torch.device("cpu")).landmarks(picture, Region.expected(camera, FACE, 512))
    assert presence > PRESENCE
    middle = fit_camera(landmarks, FACE).project(np.zeros((1, 3)))[0, :2]
    assert np.abs(middle - 0.5).max() < 0.025  # a face 0.16 units farther in front puts it 0.1 aside


def test_one_component_facing_outward(mesh: HeadMesh, solid: trimesh.Trimesh) -> None:
    assert solid.body_count == 1
    assert solid.is_watertight
    assert solid.volume > 0.02
    outside = mesh.vertices + 0.004 * mesh.normals
    assert solid.contains(outside[:: len(outside) // 400]).mean() < 0.02


def test_face_is_in_front_and_the_head_is_as_large_as_a_head(mesh: HeadMesh) -> None:
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    assert (high - low)[0] > 0.3
    assert 0.5 < (high - low)[1] <= 0.9
    nose = mesh.vertices[(np.abs(mesh.vertices[:, 0]) < 0.05) & (np.abs(mesh.vertices[:, 1]) < 0.05), 2].max()
    assert 0.08 < nose < 0.25


def test_the_head_has_the_photos_outline_and_a_level_neck(capture: Capture, mesh: HeadMesh) -> None:
    size = 128
    matte = np.asarray(Image.fromarray(capture.matte).resize((size, size), Image.Resampling.BOX)) > 127
    seen = render_view(capture.field, capture.camera, size, rendering=capture.rendering).mask
    assert (seen & matte).sum() > 0.95 * (seen | matte).sum()
    assert capture.floor is not None
    base = mesh.vertices[mesh.vertices[:, 1] < capture.floor + 1e-3]
    assert mesh.vertices[:, 1].min() > capture.floor - 1e-3
    assert len(base) > 200


def test_the_back_is_round_and_does_not_end_at_the_box(capture: Capture, mesh: HeadMesh) -> None:
    head = mesh.vertices[mesh.vertices[:, 1] > -0.1]
    low = capture.field.box.low[2]
    assert low + 0.02 < head[:, 2].min() < -0.35
    hindmost = head[head[:, 2] < head[:, 2].min() + 0.02]
    assert np.ptp(hindmost[:, 0]) < 0.3
    assert np.ptp(hindmost[:, 1]) < 0.35


def test_surface_is_where_the_source_view_sees_it(capture: Capture, mesh: HeadMesh, solid: trimesh.Trimesh) -> None:
    size = 96
    view = render_view(capture.field, capture.camera, size, rendering=capture.rendering)
    origins, directions = (part[0].numpy() for part in rays(torch.from_numpy(capture.camera.label)[None], size))
    seen = np.flatnonzero(view.alpha.ravel() > 0.95)
    places, hits, _ = solid.ray.intersects_location(origins[seen], directions[seen], multiple_hits=False)
    depth = capture.camera.project(places)[:, 2]
    error = np.abs(depth - view.depth.ravel()[seen][hits])
    assert len(hits) > 0.97 * len(seen)
    assert np.median(error) < 0.01 * HEAD_SIZE


def test_vertex_colors_are_the_decoders(capture: Capture, mesh: HeadMesh) -> None:
    with torch.inference_mode():
        expected = capture.field.colors(torch.from_numpy(mesh.vertices)).numpy()
    difference = np.abs(mesh.colors - expected).max(1)
    face = (mesh.vertices[:, 2] > 0.1) & (np.abs(mesh.vertices[:, :2]) < 0.1).all(1)
    assert face.sum() > 200
    assert difference[face].max() < 1 / 255
    assert np.median(difference) < 3 / 255  # the sides have moved since they were coloured
