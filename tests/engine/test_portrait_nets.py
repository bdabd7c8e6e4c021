"""The portrait nets give what the original graphs give; the geometry around them is exact.

portrait_reference.npz holds outputs of facenet-pytorch's and MediaPipe's own graphs on the
astronaut: the landmark net on [24:216, 128:320], the segmentation net on every second pixel,
MTCNN on the whole.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from tpn_engine.camera import Camera
from tpn_engine.portrait.align import crop_window, turned
from tpn_engine.portrait.detect import FaceDetector, suppress_overlaps
from tpn_engine.portrait.face_landmarks import FaceLandmarkNet
from tpn_engine.portrait.landmarks import mirrored_indices, roll
from tpn_engine.portrait.matte import around_face, follow_edges, guided
from tpn_engine.portrait.pose import fit_camera, head_pose, world_landmarks
from tpn_engine.portrait.segmentation import SegmentationNet
from tpn_engine.portrait.weights import load_net
from tpn_engine.standard_face import EG3D_FACE

REFERENCE = np.load(Path(__file__).parent / "portrait_reference.npz")
CPU = torch.device("cpu")


def as_input(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255


def test_landmark_net():
    net = load_net(FaceLandmarkNet(), "face_landmarks", CPU)
    landmarks, presence = net(as_input(data.astronaut()[24:216, 128:320]))
    np.testing.assert_allclose(landmarks[0], REFERENCE["landmarks"], atol=3e-4)
    np.testing.assert_allclose(presence, REFERENCE["presence"], atol=1e-3)


def test_segmentation_net():
    net = load_net(SegmentationNet(), "selfie_segmentation", CPU)
    person = net(as_input(data.astronaut()[::2, ::2]))[0]
    np.testing.assert_allclose(person[::8, ::8], REFERENCE["matte"], atol=1e-3)


def test_detector():
    (face,) = FaceDetector(CPU).detect(data.astronaut())
    np.testing.assert_allclose(face.box, REFERENCE["box"][:4], atol=0.01)
    np.testing.assert_allclose(face.points, REFERENCE["points"], atol=0.01)
    assert face.score == pytest.approx(float(REFERENCE["box"][4]), abs=1e-4)


def test_overlaps_are_suppressed():
    boxes = np.array([[0, 0, 99, 99], [5, 5, 104, 104], [20, 20, 39, 39], [300, 0, 399, 99]], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    assert suppress_overlaps(boxes, scores, 0.5).tolist() == [1, 2, 3]
    assert suppress_overlaps(boxes, scores, 0.5, relative_to="smaller").tolist() == [1, 3]
    assert suppress_overlaps(boxes[:0], scores[:0], 0.5).tolist() == []


def test_crop_puts_a_standard_face_where_eg3d_does():
    # Eyes, nose and mouth of the standard face, x right and y up, 50 pixels a unit, around (400, 300).
    face = np.array([[-0.3094, 0.3142], [0.3094, 0.3142], [0.0, 0.0111], [-0.2412, -0.3698], [0.2412, -0.3698]])
    points = np.array([400.0, 300.0]) + face * [50, -50]
    window = crop_window(points, (1000, 800))
    # 300 pixels a unit in a picture of which 700 pixels become 512.
    unit = 300 * 512 / 700
    expected = 256 + face * [unit, -unit]
    assert np.abs(window.to_crop(points) - expected).max() < 3
    assert window.width == pytest.approx(700 / 6, rel=2e-3)
    np.testing.assert_allclose(window.from_crop(window.to_crop(points)), points)
    # A picture twice as large gives the same crop.
    double = crop_window(points * 2, (2000, 1600))
    assert np.abs(double.to_crop(points * 2) - window.to_crop(points)).max() < 3


def test_turning():
    right = turned(np.array([[20.0, 10.0]]), 90, (10.0, 10.0))
    np.testing.assert_allclose(right, [[10.0, 0.0]], atol=1e-9)  # counter-clockwise: from the right to the top
    points = np.array([[100, 100], [160, 100], [130, 130], [108, 165], [152, 165]], float)
    assert roll(points) == pytest.approx(0, abs=1e-9)
    assert roll(turned(points, 25, (0.0, 0.0))) == pytest.approx(-25)


@pytest.mark.parametrize("yaw", [-60, -20, 0, 35])
@pytest.mark.parametrize("pitch", [-15, 0, 25])
@pytest.mark.parametrize("tilt", [-40, 0, 15])
def test_camera_is_recovered(yaw: float, pitch: float, tilt: float):
    camera = Camera.orbit(yaw, pitch, look_at=(0.02, -0.03, 0.1))
    cos, sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    camera.pose[:3, :2] = camera.pose[:3, :2] @ [[cos, -sin], [sin, cos]]
    seen = camera.project(world_landmarks(EG3D_FACE))
    depth = (seen[:, 2] - seen[:, 2].mean()) * 4.2647 * 512 / seen[:, 2].mean()
    landmarks = np.concatenate([seen[:, :2] * 512, depth[:, None] + 7], axis=1)
    found = fit_camera(landmarks, EG3D_FACE)
    np.testing.assert_allclose(found.pose, camera.pose, atol=1e-5)
    np.testing.assert_allclose(found.intrinsics, camera.intrinsics)
    # A few landmarks far off do not matter much.
    landmarks[::50] += 60
    assert np.abs(fit_camera(landmarks, EG3D_FACE).pose - camera.pose).max() < 0.1


def test_angles():
    for yaw, pitch in ((30, 0), (-50, 10), (0, -20)):
        pose = head_pose(Camera.orbit(yaw, pitch, look_at=(0, 0, 0)))
        np.testing.assert_allclose([pose.yaw, pose.pitch, pose.roll], [yaw, pitch, 0], atol=1e-4)
    tilted = Camera.orbit(0, 0)
    cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
    tilted.pose[:3, :2] = tilted.pose[:3, :2] @ [[cos, -sin], [sin, cos]]
    crown, chin = tilted.project(np.array([[0, 0.3, 0.0], [0, -0.3, 0.0]]))[:, :2]
    lean = np.degrees(np.arctan2(crown[0] - chin[0], chin[1] - crown[1]))  # > 0: the crown leans to the right
    assert head_pose(tilted).roll == pytest.approx(lean, abs=1e-3)


def test_mirror_image_of_landmarks():
    mirror = mirrored_indices()
    assert (mirror[mirror] == np.arange(468)).all()
    assert mirror[33] == 263
    assert mirror[61] == 291
    assert mirror[1] == 1


def test_matte_follows_edges():
    # A disc in the crop; the coarse matte is the same disc blurred and too large.
    y, x = np.mgrid[:512, :512] + 0.5
    disc = np.hypot(x - 256, y - 256) < 150
    crop = torch.from_numpy(np.where(disc, 0.8, 0.2)).float().expand(1, 3, -1, -1)
    radius = 150 * 256 / (512 * 1.5)
    y, x = np.mgrid[:256, :256] + 0.5
    distance = np.hypot(x - 128, y - 128)
    guide = torch.from_numpy(np.where(distance < radius, 0.8, 0.2)).float().expand(1, 3, -1, -1)
    coarse = torch.from_numpy(1 / (1 + np.exp(distance - radius - 1))).float()[None, None]
    matte = follow_edges(*guided(coarse, guide), crop, zoom=1.5)[0, 0].numpy()
    assert np.abs(matte - disc).mean() < 0.03
    assert (matte[disc].min(), matte[~disc].max()) == pytest.approx((1, 0), abs=0.35)


def test_neighbours_are_not_in_the_matte():
    y, x = np.mgrid[:512, :512] + 0.5
    person = (1.3 - np.hypot(x - 300, y - 256) / 120).clip(0, 1)
    neighbour = (1.3 - np.hypot(x - 80, y - 256) / 60).clip(0, 1)
    angle = np.arange(468)
    face = np.stack([300 + 60 * np.cos(angle), 256 + 70 * np.sin(angle), 0 * angle], axis=1)
    kept = np.maximum(person, neighbour) * around_face(np.maximum(person, neighbour), face)
    np.testing.assert_array_equal(kept[:, 180:], person[:, 180:])
    assert kept[:, :140].max() == 0
    # A matte that misses the face is left as it is.
    assert around_face(neighbour, face).all()
