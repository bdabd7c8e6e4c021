"""A capture is made, kept and used without inverting again; nothing but a sound file is loaded."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tiny_model import disc_portrait, tiny_model
from videos import decoded

from tpn_engine import Capture, Engine
from tpn_engine.capture_file import VERSION, read_capture_file, write_capture_file
from tpn_engine.checkpoints import Model
from tpn_engine.errors import CancelledError, CaptureFileError, DeviceError, FileError, OptionError
from tpn_engine.inversion.invert import invert
from tpn_engine.nets.box import Box
from tpn_engine.nets.presets import ffhq512_128, synthetic_heads
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.portrait.portrait import Surroundings
from tpn_engine.progress import Progress
from tpn_engine.views import render_view
from tpn_engine.views.cameras import Framing, around, ring
from tpn_engine.views.pictures import rgb_picture


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def capture(model: Model) -> Capture:
    return invert(model, disc_portrait())


@pytest.fixture
def saved(capture: Capture, tmp_path: Path) -> Path:
    path = tmp_path / "disc.capture"
    capture.save(path)
    return path


def test_inversion_is_pivot_then_refinement(model: Model, capture: Capture) -> None:
    portrait = disc_portrait()
    on_black = np.concatenate([portrait.crop * portrait.matte[..., None], portrait.matte[..., None]], axis=2)
    photo = torch.from_numpy(on_black).permute(2, 0, 1)[None] * 2 - 1
    with torch.inference_mode():
        pivot = model.network.pivot(photo)
        planes = model.network.refine(pivot, photo, torch.from_numpy(portrait.camera.label)[None])
    torch.testing.assert_close(capture.field.planes, planes[0])
    torch.testing.assert_close(capture.codes, pivot.codes[0])
    np.testing.assert_array_equal(capture.camera.label, portrait.camera.label)
    assert (capture.crop.shape, capture.crop.dtype) == ((512, 512, 3), np.uint8)
    assert (capture.matte.shape, capture.matte.dtype) == ((512, 512), np.uint8)


def test_matted_models_do_not_see_the_background(model: Model, capture: Capture) -> None:
    portrait = disc_portrait()
    other = replace(portrait, crop=np.where(portrait.matte[..., None] > 0, portrait.crop, 0.3).astype(np.float32))
    torch.testing.assert_close(invert(model, other).field.planes, capture.field.planes, rtol=0, atol=0)
    preset = replace(model.preset, matted=False)
    seeing = replace(model, preset=preset, network=TriPlaneNet(preset).eval().requires_grad_(False))
    assert not torch.equal(invert(seeing, other).field.planes, invert(seeing, portrait).field.planes)


def test_the_provenance_says_where_a_head_comes_from(model: Model, capture: Capture) -> None:
    provenance = capture.provenance
    assert provenance["photo"]["name"] == "disc.png"
    assert provenance["photo"]["sha256"] == disc_portrait().sha256
    assert provenance["model"]["sha256"] == model.sha256
    assert provenance["method"] == "triplanenet"
    assert provenance["torch"] == torch.__version__
    assert provenance["warnings"] == [{"code": "low_resolution", "message": "The face is small."}]
    assert set(provenance["seconds"]) == {"pivot", "refinement"}


@pytest.mark.parametrize("stage", ["pivot", "refinement"])
def test_inversion_stops_between_the_networks(model: Model, stage: str) -> None:
    reached: list[str] = []
    progress = Progress(lambda name, fraction: reached.append(name), lambda: reached[-1] == stage)
    with pytest.raises(CancelledError):
        invert(model, disc_portrait(), progress)
    assert reached[-1] == stage


def test_a_capture_comes_back_bit_for_bit(capture: Capture, saved: Path) -> None:
    loaded = Capture.load(saved)
    assert torch.equal(loaded.field.planes, capture.field.planes)
    assert torch.equal(loaded.codes, capture.codes)
    for key, value in capture.field.decoder.state_dict().items():
        assert torch.equal(loaded.field.decoder.state_dict()[key], value)
    np.testing.assert_array_equal(loaded.camera.label, capture.camera.label)
    np.testing.assert_array_equal(loaded.crop, capture.crop)
    np.testing.assert_array_equal(loaded.matte, capture.matte)
    assert capture.landmarks is not None
    assert loaded.landmarks is not None
    np.testing.assert_array_equal(loaded.landmarks, capture.landmarks)
    assert (loaded.field.axes, loaded.field.box) == (capture.field.axes, capture.field.box)
    assert (loaded.rendering, loaded.iso_level) == (capture.rendering, capture.iso_level)
    assert loaded.provenance == capture.provenance
    again = saved.with_name("again.capture")
    loaded.save(again)
    assert again.read_bytes() == saved.read_bytes()


def test_more_of_the_photo_is_kept_and_colours_the_mesh(model: Model, tmp_path: Path) -> None:
    disc = disc_portrait()
    picture = np.zeros((768, 768, 3), np.float32)
    picture[..., 1] = 1
    more = Surroundings(picture, np.ones((768, 768), np.float32), np.arange(768)[:, None] > np.zeros(768) + 96, 1.5)
    capture = invert(model, replace(disc, surroundings=more))
    capture.save(tmp_path / "more.capture")
    again = Capture.load(tmp_path / "more.capture")
    assert again.surroundings is not None
    assert again.surroundings.widths == 1.5
    np.testing.assert_array_equal(again.surroundings.shown, more.shown)
    assert again.around is not None
    assert again.around.rows == (97 / 768, 1.0)
    np.testing.assert_array_equal(again.surroundings.picture, (picture * 255).astype(np.uint8))
    assert again.surroundings.matte.min() == 255
    green = again.mesh(32, colors="photo", largest_component=True).colors
    plain = replace(again, surroundings=None).mesh(32, colors="photo").colors
    assert (green[:, 1] - green[:, 0]).max() > 0.9 > (plain[:, 1] - plain[:, 0]).max()


def test_a_loaded_capture_gives_the_same_mesh_and_views(capture: Capture, saved: Path) -> None:
    loaded = Capture.load(saved)
    first, second = capture.mesh(48), loaded.mesh(48)
    assert len(first.triangles) > 0
    np.testing.assert_array_equal(first.vertices, second.vertices)
    np.testing.assert_array_equal(first.colors, second.colors)
    np.testing.assert_array_equal(np.asarray(capture.render(size=32)), np.asarray(loaded.render(size=32)))


def test_no_angle_is_the_source_camera(capture: Capture) -> None:
    source = render_view(capture.field, capture.camera, 32, rendering=capture.rendering)
    np.testing.assert_array_equal(np.asarray(capture.render(size=32)), np.asarray(rgb_picture(source.rgb)))
    turned = render_view(capture.field, around(0, -20), 32, rendering=capture.rendering)
    np.testing.assert_array_equal(np.asarray(capture.render(pitch=-20, size=32)), np.asarray(rgb_picture(turned.rgb)))


def test_any_camera_shows_any_kind_of_picture(capture: Capture) -> None:
    framing = Framing(radius=2.5, field_of_view=25.0, look_at=(0.05, 0.0, 0.0))
    view = render_view(capture.field, around(0, 0, framing), 32, rendering=capture.rendering)
    for show, expected in (
        ("rgb", np.asarray(rgb_picture(view.rgb))),
        ("depth", (view.depth * 10000 + 0.5).astype(np.uint16)),
        ("mask", (view.alpha * 255).round()),
    ):
        picture = capture.render(size=32, framing=framing, show=show)
        np.testing.assert_array_equal(np.asarray(picture), expected)
    assert capture.render(size=32, framing=framing, show="normals").mode == "RGB"
    with pytest.raises(OptionError, match="rgb, depth"):
        capture.render(size=32, show="albedo")


def test_batches_are_single_views_that_are_reported_and_can_be_stopped(capture: Capture) -> None:
    cameras, heard = [capture.camera, *ring(3, pitch=10)], []
    progress = Progress(lambda stage, fraction: heard.append((stage, fraction)))
    views = list(capture.views(cameras, 32, progress=progress))
    assert len(views) == 4
    for camera, view in zip(cameras, views, strict=True):
        alone = render_view(capture.field, camera, 32, rendering=capture.rendering)
        np.testing.assert_array_equal(view.rgb, alone.rgb)
        np.testing.assert_array_equal(view.depth, alone.depth)
    assert heard == [("views", index / 4) for index in range(5)]
    with pytest.raises(CancelledError):
        list(capture.views(cameras, 32, progress=Progress(cancelled=lambda: True)))


def test_mesh_options_are_the_surfaces_own(capture: Capture) -> None:
    assert len(capture.mesh(48, triangles=200).triangles) <= 200
    with pytest.raises(OptionError):
        capture.mesh(4)
    with pytest.raises(OptionError, match="level"):
        capture.mesh(32, level=float("nan"))


def test_meshes_are_cut_and_coloured_as_the_model_says_unless_asked_otherwise(capture: Capture) -> None:
    assert (capture.border, capture.colors) == (0.0, "model")
    for border in (0.125, 0.25):
        cut = replace(capture, border=border).mesh(48)
        assert np.abs(cut.vertices).max() < 0.5 - border + 1 / 24
        np.testing.assert_array_equal(cut.vertices, capture.mesh(48, border=border).vertices)
    np.testing.assert_array_equal(replace(capture, border=0.25).mesh(48, border=None).vertices, cut.vertices)
    with pytest.raises(OptionError, match="photo, model"):
        capture.mesh(32, colors="painted")


def test_official_models_are_cut_as_by_eg3d_and_ours_shows_the_photo() -> None:
    official, ours = ffhq512_128(), synthetic_heads()
    assert (official.border, official.colors) == (30 / 256, "model")
    assert (ours.border, ours.floor, ours.colors) == (0.01, -0.37, "photo")


def test_captures_of_version_0_1_are_meshed_as_they_were(capture: Capture, saved: Path) -> None:
    replace(capture, border=0.125, floor=-0.3, colors="photo", matted=not capture.matted).save(saved)
    loaded = Capture.load(saved)
    assert (loaded.border, loaded.floor, loaded.colors, loaded.matted) == (0.125, -0.3, "photo", not capture.matted)
    tensors, facts = read_capture_file(saved)
    for new in ("border", "floor", "colors", "silhouette", "box_back"):
        del facts[new]
    write_capture_file(saved, tensors, facts)
    old = Capture.load(saved)
    assert (old.border, old.floor, old.colors) == (0.0, None, "model")
    assert (old.field.silhouette, old.field.box) == (None, Box())


def test_turntables_have_their_frames_and_size(capture: Capture, tmp_path: Path) -> None:
    path, heard = tmp_path / "turn.mp4", []
    progress = Progress(lambda stage, fraction: heard.append((stage, fraction)))
    capture.turntable(path, frames=5, size=32, progress=progress)
    frames = decoded(path)
    assert [frame.shape for frame in frames] == [(32, 32, 3)] * 5
    assert heard == [("turntable", index / 5) for index in range(5)] + [("turntable", 1.0)]


@pytest.mark.parametrize("name", ["turn.webm", "turn.gif"])
def test_spirals_turn_in_every_format(capture: Capture, name: str, tmp_path: Path) -> None:
    framing = Framing(radius=2.4)
    capture.turntable(tmp_path / name, 4, 32, along="spiral", framing=framing)
    frames = np.stack(decoded(tmp_path / name)).astype(float)
    assert frames.shape == (4, 32, 32, 3)
    places = ((0, 0), (90, 20), (180, 0), (270, -20))
    expected = np.stack([np.asarray(capture.render(*place, 32, framing=framing), float) for place in places])
    error = np.abs(frames[:, None] - expected).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(error.argmin(axis=1), range(4))
    assert error.diagonal().max() < 3


def test_a_cancelled_turntable_leaves_nothing(capture: Capture, tmp_path: Path) -> None:
    asked: list[int] = []
    progress = Progress(cancelled=lambda: bool(asked.append(1)) or len(asked) > 4)
    with pytest.raises(CancelledError):
        capture.turntable(tmp_path / "turn.mp4", frames=50, size=32, progress=progress)
    assert not list(tmp_path.iterdir())


def test_turntables_refuse_what_can_not_be_before_they_start(capture: Capture, tmp_path: Path) -> None:
    for name, frames, size in (("turn.mp4", 0, 32), ("turn.mp4", 5, 33), ("turn.avi", 5, 32), ("turn", 0, 32)):
        with pytest.raises(OptionError):
            capture.turntable(tmp_path / name, frames, size)
    assert not list(tmp_path.iterdir())


def damaged(content: bytes) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[-1000] ^= 1
    return {
        "empty": b"",
        "text": b"this is a text and no capture at all, although it has the suffix of one",
        "truncated": content[:-100],
        "header only": content[:200],
        "longer": content + b"0" * 100,
        "one bit": bytes(flipped),
        "facts changed": content.replace(b'\\"iso_level\\": 0.7', b'\\"iso_level\\": 9.0', 1),
        "pickle": pickle.dumps({"planes": [1, 2, 3]}),
    }


@pytest.mark.parametrize("kind", damaged(b"0" * 2000))
def test_damaged_files_are_refused(kind: str, saved: Path) -> None:
    content = damaged(saved.read_bytes())[kind]
    assert content != saved.read_bytes()
    saved.write_bytes(content)
    with pytest.raises(CaptureFileError) as caught:
        Capture.load(saved)
    assert str(saved) in str(caught.value)


def test_foreign_newer_and_missing_files_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(CaptureFileError, match="no file"):
        Capture.load(tmp_path / "nowhere.capture")
    with pytest.raises(CaptureFileError):
        Capture.load(tmp_path)
    foreign = tmp_path / "foreign.capture"
    save_file({"planes": np.zeros(3, np.float32)}, foreign)
    with pytest.raises(CaptureFileError, match="not a capture"):
        Capture.load(foreign)
    tensors, facts = read_capture_file(saved)
    write_capture_file(foreign, tensors, {**facts, "version": VERSION + 1})
    with pytest.raises(CaptureFileError, match="newer version"):
        Capture.load(foreign)


@pytest.mark.parametrize("missing", ["planes", "label", "decoder.net.0.weight", "codes", "crop"])
def test_files_that_lack_a_part_are_refused(missing: str, saved: Path) -> None:
    tensors, facts = read_capture_file(saved)
    assert tensors.keys() == load_file(saved).keys()
    del tensors[missing]
    write_capture_file(saved, tensors, facts)
    with pytest.raises(CaptureFileError, match="does not hold a whole head"):
        Capture.load(saved)


def test_captures_are_saved_whole_or_not_at_all(capture: Capture, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.capture"):
        capture.save(tmp_path / "head.pt")
    with pytest.raises(FileError, match="no folder"):
        capture.save(tmp_path / "nowhere" / "head.capture")
    with pytest.raises(TypeError):
        replace(capture, provenance={"not": {"JSON"}}).save(tmp_path / "head.capture")
    assert not list(tmp_path.iterdir())


def test_a_capture_moves_without_its_engine(model: Model, capture: Capture) -> None:
    assert capture.field.decoder is not model.network.decoder.decoder
    moved = capture.to("cpu")
    assert moved.field.decoder is not capture.field.decoder


def test_devices_that_are_not_there_are_named(tmp_path: Path) -> None:
    for device in ("cuda:99", "tpu", ""):
        with pytest.raises(DeviceError, match="cpu"):
            Engine.load(device=device)
