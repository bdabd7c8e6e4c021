"""From a photo to the portrait: the same head, however the photo was taken and stored."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import portrait_photos as photos
import pytest
from PIL import Image
from skimage import data

from tpn_engine.camera import Camera
from tpn_engine.errors import CancelledError, FaceTooSmallError, NoFaceError, OptionError
from tpn_engine.portrait import Portrait, PortraitReader
from tpn_engine.portrait.pose import head_pose
from tpn_engine.progress import Progress

ASTRONAUT = photos.astronaut()


@pytest.fixture(scope="module")
def reader() -> PortraitReader:
    return PortraitReader()


@pytest.fixture(scope="module")
def portrait(reader: PortraitReader) -> Portrait:
    return reader.read(ASTRONAUT)


def codes(portrait: Portrait) -> set[str]:
    return {warning.code for warning in portrait.warnings}


def angle_between(one: Camera, other: Camera) -> float:
    """Degrees from one camera's orientation to the other's."""
    trace = np.trace(one.pose[:3, :3].T.astype(np.float64) @ other.pose[:3, :3])
    return float(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))


def shift_between(one: Portrait, other: Portrait) -> float:
    """How far the landmarks are apart, in crop pixels, mean."""
    return float(np.linalg.norm(one.landmarks[:, :2] - other.landmarks[:, :2], axis=1).mean())


def as_photo(portrait: Portrait) -> Image.Image:
    return Image.fromarray(np.round(portrait.crop * 255).astype(np.uint8))


def test_what_a_portrait_holds(portrait: Portrait):
    assert portrait.crop.shape == (512, 512, 3)
    assert portrait.matte.shape == (512, 512)
    assert portrait.landmarks.shape == (468, 3)
    for values in (portrait.crop, portrait.matte, portrait.landmarks, portrait.camera.label):
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    for values in (portrait.crop, portrait.matte):
        assert values.min() >= 0
        assert values.max() <= 1
    assert portrait.camera.label.shape == (25,)
    assert np.linalg.norm(portrait.camera.position) == pytest.approx(2.7, abs=1e-5)
    assert portrait.score > 0.99
    assert portrait.faces == 1
    assert portrait.sha256 == hashlib.sha256(data.astronaut().tobytes()).hexdigest()
    # Her eyes in the photo, measured by hand.
    x0, y0, x1, y1 = portrait.box
    assert x0 < 206 < 246 < x1
    assert y0 < 104 < y1


def test_astronaut_pose(portrait: Portrait):
    pose = head_pose(portrait.camera)
    assert abs(pose.yaw) < 3  # she looks into the camera
    assert 4 < pose.pitch < 14
    # The eyes in the crop, measured by hand, are tilted by 3 degrees; the head is by less.
    assert 1 < pose.roll < 4


def test_eyes_and_mouth_are_where_eg3d_puts_them(portrait: Portrait):
    right_eye = portrait.landmarks[[33, 133], :2].mean(axis=0)
    left_eye = portrait.landmarks[[263, 362], :2].mean(axis=0)
    mouth = portrait.landmarks[[61, 291], :2].mean(axis=0)
    np.testing.assert_allclose(right_eye, [188, 206], atol=12)
    np.testing.assert_allclose(left_eye, [328, 212], atol=12)
    np.testing.assert_allclose(mouth, [256, 335], atol=12)
    assert (left_eye - right_eye)[0] == pytest.approx(139, rel=0.02)


def test_camera_explains_the_landmarks(portrait: Portrait):
    """A round trip through the label, with the standard head of another origin: EG3D's average face points."""
    camera = Camera.from_label(portrait.camera.label)
    # Nose tip and chin of EG3D's average head, to a centimetre or two.
    nose, chin = camera.project(np.array([[0.0, -0.01, 0.29], [0.0, -0.21, 0.21]]))[:, :2] * 512
    assert np.linalg.norm(nose - portrait.landmarks[1, :2]) < 25
    assert np.linalg.norm(chin - portrait.landmarks[152, :2]) < 25


def test_mirrored_photo_gives_the_mirrored_camera(reader: PortraitReader, portrait: Portrait):
    mirrored = reader.read(ASTRONAUT.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert angle_between(mirrored.camera, portrait.camera.mirrored()) < 1
    assert angle_between(mirrored.camera, portrait.camera) > 3  # her roll has changed its side
    assert np.abs(mirrored.camera.position - portrait.camera.mirrored().position).max() < 0.03
    assert np.abs(mirrored.matte[:, ::-1] - portrait.matte).mean() < 0.03


def test_aligning_again_changes_little(reader: PortraitReader, portrait: Portrait):
    again = reader.read(as_photo(portrait))
    spread = [np.linalg.norm(found.landmarks[:, :2].std(axis=0)) for found in (again, portrait)]
    assert spread[0] / spread[1] == pytest.approx(1, abs=0.02)
    assert np.abs(again.landmarks[:, :2].mean(axis=0) - portrait.landmarks[:, :2].mean(axis=0)).max() < 3
    assert angle_between(again.camera, portrait.camera) < 0.5
    assert codes(again) == set()


@pytest.mark.parametrize("turn", [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270])
def test_sideways_photos(reader: PortraitReader, portrait: Portrait, turn: Image.Transpose):
    found = reader.read(ASTRONAUT.transpose(turn))
    np.testing.assert_array_equal(found.crop, portrait.crop)
    np.testing.assert_array_equal(found.camera.label, portrait.camera.label)
    assert found.box == pytest.approx(portrait.box)
    assert "rotated_photo" in codes(found)
    assert "rotated_photo" not in codes(portrait)


def test_exif_orientation_needs_no_warning(reader: PortraitReader, portrait: Portrait, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "phone.png"
    ASTRONAUT.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    found = reader.read(path)
    np.testing.assert_array_equal(found.crop, portrait.crop)
    assert codes(found) == codes(portrait)
    assert found.name == "phone.png"


def test_tilted_heads(reader: PortraitReader, portrait: Portrait):
    tilted = ASTRONAUT.rotate(30, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))
    kept, levelled = reader.read(tilted), reader.read(tilted, level=True)
    roll = head_pose(portrait.camera).roll
    assert head_pose(kept.camera).roll == pytest.approx(roll - 30, abs=2)
    assert "levelled" not in codes(kept)
    assert abs(head_pose(levelled.camera).roll) < 5
    assert "levelled" in codes(levelled)
    assert shift_between(levelled, portrait) < 12
    assert head_pose(levelled.camera).yaw == pytest.approx(head_pose(portrait.camera).yaw, abs=2)
    assert head_pose(levelled.camera).pitch == pytest.approx(head_pose(portrait.camera).pitch, abs=2)
    assert "levelled" not in codes(reader.read(ASTRONAUT, level=True))


def test_several_faces(reader: PortraitReader, portrait: Portrait):
    small = ASTRONAUT.resize((384, 384), Image.Resampling.LANCZOS).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pair = Image.new("RGB", (900, 512), (90, 90, 90))
    pair.paste(small, (0, 64))
    pair.paste(ASTRONAUT, (388, 0))
    largest = reader.read(pair)
    assert largest.faces == 2
    assert "several_faces" in codes(largest)
    assert angle_between(largest.camera, portrait.camera) < 0.5
    assert largest.box[0] > 388
    first, second = reader.read(pair, face=0), reader.read(pair, face=1)
    assert first.box == largest.box
    assert "several_faces" not in codes(first)
    assert second.box[2] < 384
    assert angle_between(second.camera, portrait.camera.mirrored()) < 1.5
    for index in (2, -1):
        with pytest.raises(OptionError, match="2 faces"):
            reader.read(pair, face=index)


@pytest.mark.parametrize("side", [60, 112])
def test_small_photos(reader: PortraitReader, portrait: Portrait, side: int):
    found = reader.read(as_photo(portrait).resize((side, side), Image.Resampling.LANCZOS))
    assert angle_between(found.camera, portrait.camera) < 2
    assert "low_resolution" in codes(found)


def test_large_photos(reader: PortraitReader, portrait: Portrait):
    found = reader.read(photos.encoded(ASTRONAUT.resize((4000, 4000), Image.Resampling.BICUBIC), "JPEG"))
    assert angle_between(found.camera, portrait.camera) < 1
    assert shift_between(found, portrait) < 6
    assert codes(found) == set()


def test_beyond_the_photo(reader: PortraitReader, portrait: Portrait):
    x0, y0, x1, y1 = (round(value) for value in portrait.box)
    tight = ASTRONAUT.crop((x0 - 8, y0 - 8, x1 + 8, y1 + 8))
    found = reader.read(tight)
    assert "outside_photo" in codes(found)
    assert "outside_photo" not in codes(portrait)
    assert angle_between(found.camera, portrait.camera) < 3
    assert found.crop[:20].mean() > 0.2  # filled, not black
    assert found.matte[:5].max() == 0  # nobody knows who is there
    assert found.matte[240:300, 220:300].min() > 0.9


def test_matte(portrait: Portrait):
    face = portrait.landmarks[:, :2].mean(axis=0).astype(int)
    assert portrait.matte[face[1] - 60 : face[1] + 60, face[0] - 60 : face[0] + 60].min() > 0.95
    assert portrait.matte[300:340, :60].max() < 0.05
    assert portrait.matte[300:420, 460:].max() < 0.05
    assert 0.65 < portrait.matte.mean() < 0.85
    assert ((portrait.matte > 0.1) & (portrait.matte < 0.9)).mean() < 0.08


def test_surroundings_are_the_photo_around_the_crop(portrait: Portrait):
    around = portrait.surroundings
    assert around is not None
    assert around.picture.shape == (768, 768, 3)
    middle = np.s_[128:640, 128:640]
    # Resampling sees beyond the crop's border here, and mirrors there.
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(around.picture[middle] - portrait.crop)[inner].max() < 0.02
    assert np.abs(around.matte[middle] - portrait.matte)[inner].mean() < 0.01
    assert 0.1 < around.matte[:128].mean() < 0.6  # hair
    points = np.array([[0.0, 0.0, 0.2], [0.1, 0.2, 0.1], [-0.2, -0.1, 0.0]])
    here = portrait.camera.project(points)
    there = around.camera(portrait.camera).project(points)
    np.testing.assert_allclose(there[:, :2] * 1.5 - 0.25, here[:, :2], atol=1e-6)
    np.testing.assert_allclose(there[:, 2], here[:, 2])


def test_surroundings_say_where_the_photo_begins_and_ends(reader: PortraitReader, portrait: Portrait):
    x0, y0, x1, y1 = portrait.box
    side = (x1 - x0) / 2
    photo = ASTRONAUT.crop((0, round(y0 - side), 512, round(y1 + 0.5 * side)))
    around = reader.read(photo).surroundings
    assert around is not None
    assert around.shown.dtype == bool
    rows = np.flatnonzero(around.shown.any(1))
    assert 0.05 < rows[0] / 768 < 0.3
    assert 0.8 < (rows[-1] + 1) / 768 < 1
    assert around.shown[rows[0] : rows[-1] + 1].all()
    assert around.matte[: max(0, rows[0] - 60)].max(initial=0) == 0
    tight = ASTRONAUT.crop((round(x0 - side), round(y0 - side), round(x1 + side), round(y1 + side)))
    assert reader.read(tight).surroundings is None


@pytest.mark.parametrize("kind", ["flat", "noise", "bricks", "text", "half a megapixel of black"])
def test_no_face(reader: PortraitReader, kind: str):
    pictures = {
        "flat": lambda: Image.new("RGB", (300, 200), (200, 150, 130)),
        "noise": lambda: Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)),
        "bricks": lambda: Image.fromarray(data.brick()),
        "text": lambda: Image.fromarray(data.text()),
        "half a megapixel of black": lambda: Image.new("1", (1000, 500)),
    }
    with pytest.raises(NoFaceError, match="No face was found"):
        reader.read(pictures[kind]())


def test_face_too_small(reader: PortraitReader):
    distant = Image.new("RGB", (320, 320), (200, 195, 195))
    distant.paste(ASTRONAUT.resize((112, 112), Image.Resampling.LANCZOS), (100, 100))
    with pytest.raises(FaceTooSmallError, match="pixels wide"):
        reader.read(distant)


def test_progress_and_cancelling(reader: PortraitReader):
    stages: list[tuple[str, float]] = []
    reader.read(ASTRONAUT, progress=Progress(report=lambda stage, fraction: stages.append((stage, fraction))))
    fractions = [fraction for _, fraction in stages]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    with pytest.raises(CancelledError):
        reader.read(ASTRONAUT, progress=Progress(cancelled=lambda: True))


def test_the_same_photo_gives_the_same_portrait(reader: PortraitReader, portrait: Portrait):
    again = reader.read(ASTRONAUT)
    np.testing.assert_array_equal(again.crop, portrait.crop)
    np.testing.assert_array_equal(again.camera.label, portrait.camera.label)
    np.testing.assert_array_equal(again.matte, portrait.matte)
