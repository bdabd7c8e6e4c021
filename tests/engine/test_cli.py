"""The command line from photo to files, and one clear line wherever something is wrong."""

from __future__ import annotations

import io
import json
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import trimesh
from PIL import Image
from tiny_model import disc_portrait, tiny_model, tiny_weights
from videos import decoded

from tpn_engine import Camera, Capture
from tpn_engine.cli import MESH_SUFFIXES, main
from tpn_engine.inversion.invert import invert
from tpn_engine.inversion.options import METHODS, Method, option_names
from tpn_engine.views.cameras import Framing

Run = Callable[..., "Result"]


class Result:
    """How a command ended and what it said."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def complaint(self) -> str:
        """The one line of a failure that is not the command's form."""
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("tpn: ")
        assert "Traceback" not in self.err + self.out
        assert "Unexpected" not in self.err
        return lines[0]


@pytest.fixture(autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder of the test's own: whoever runs the tests may have added some."""
    folder = tmp_path_factory.mktemp("models")
    monkeypatch.setenv("TPN_MODELS", str(folder))
    return folder


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def in_this_process(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["tpn", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return Result(code if isinstance(code, int) else 0, said.out, said.err)

    return in_this_process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, a tiny model and a capture, made once."""
    folder = tmp_path_factory.mktemp("given")
    Image.fromarray(skimage.data.astronaut()).save(folder / "astronaut.jpg", quality=92)
    tiny_weights(folder)
    invert(tiny_model(folder), disc_portrait()).save(folder / "disc.capture")
    return folder


@pytest.fixture
def photo(folder: Path) -> Path:
    return folder / "astronaut.jpg"


@pytest.fixture
def model(folder: Path) -> tuple[str, Path]:
    return "--model", folder / "tiny.safetensors"


@pytest.fixture
def head(folder: Path) -> Path:
    return folder / "disc.capture"


def test_align_writes_the_crop_and_the_label(run: Run, photo: Path, tmp_path: Path) -> None:
    crop, label = tmp_path / "crop.png", tmp_path / "label.json"
    result = run("align", photo, "-o", crop, "--label", label)
    assert result.code == 0, result.err
    with Image.open(crop) as picture:
        assert (picture.size, picture.mode) == ((512, 512), "RGB")
    [[name, numbers]] = json.loads(label.read_text())["labels"]
    camera = Camera.from_label(np.array(numbers))
    assert name == "crop.png"
    assert np.linalg.norm(camera.position) == pytest.approx(2.7, abs=1e-4)


def test_a_photo_becomes_a_mesh_or_a_capture(run: Run, photo: Path, model: tuple[str, Path], tmp_path: Path) -> None:
    result = run("capture", photo, "-o", tmp_path / "head.glb", "--resolution", 32, *model)
    assert result.code == 0, result.err
    assert "head.glb" in result.out
    assert len(trimesh.load(tmp_path / "head.glb", force="mesh").faces) > 0  # type: ignore[union-attr]
    assert run("capture", photo, "-o", tmp_path / "head.capture", *model, "--device", "cpu").code == 0
    capture = Capture.load(tmp_path / "head.capture")
    assert capture.provenance["photo"]["name"] == "astronaut.jpg"
    assert set(capture.provenance["seconds"]) == {"portrait", "pivot", "refinement"}


def test_several_photos_go_into_a_folder_past_a_bad_one(
    run: Run, photo: Path, model: tuple[str, Path], tmp_path: Path
) -> None:
    bad, out = tmp_path / "bad.jpg", tmp_path / "heads"
    bad.write_text("no picture")
    other = tmp_path / "elsewhere" / "astronaut.jpg"
    other.parent.mkdir()
    other.write_bytes(photo.read_bytes())
    result = run("capture", photo, bad, other, "-o", out, "--format", "npz", "--resolution", 32, *model)
    assert result.code == 1
    complaints = [line for line in result.err.splitlines() if not line.startswith("Warning")]
    assert len(complaints) == 1
    assert str(bad) in complaints[0]
    assert sorted(file.name for file in out.iterdir()) == ["astronaut-2.npz", "astronaut.npz"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_offered(
    run: Run, photo: Path, model: tuple[str, Path], method: Method, tmp_path: Path
) -> None:
    short = ["--set", "seconds=1"] if "seconds" in option_names(method) else []
    result = run("capture", photo, "-o", tmp_path / "head.capture", "--method", method, *short, *model)
    assert result.code == 0, result.err
    provenance = Capture.load(tmp_path / "head.capture").provenance
    assert provenance["method"] == method
    assert ("loss" in result.out) == ("fits" in provenance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "magic"), "magic"),
        (("--set", "steps=3"), "no option 'steps'"),
        (("--method", "latent", "--set", "steps"), "steps=VALUE"),
        (("--method", "latent", "--set", "steps=many"), "whole number"),
    ],
)
def test_wrong_options_of_a_method_are_refused(
    run: Run, photo: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = run("capture", photo, "-o", tmp_path / "head.capture", *options)
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize("suffix", MESH_SUFFIXES)
def test_captures_become_meshes_of_every_kind(run: Run, head: Path, suffix: str, tmp_path: Path) -> None:
    result = run("mesh", head, "-o", tmp_path / f"head{suffix}", "--resolution", 32)
    assert result.code == 0, result.err
    assert (tmp_path / f"head{suffix}").stat().st_size > 1000


def test_the_iso_level_is_the_users_to_choose(run: Run, head: Path, tmp_path: Path) -> None:
    small, large = tmp_path / "small.npz", tmp_path / "large.npz"
    assert run("mesh", head, "-o", small, "--resolution", 32, "--iso-level", 0.8).code == 0
    assert run("mesh", head, "-o", large, "--resolution", 32).code == 0
    assert not np.array_equal(np.load(small)["vertices"], np.load(large)["vertices"])
    nothing = run("mesh", head, "-o", tmp_path / "none.npz", "--resolution", 32, "--iso-level", 1e9)
    assert nothing.code == 2
    assert "iso-level" in nothing.complaint()
    assert not (tmp_path / "none.npz").exists()


def test_border_floor_and_colors_are_the_users_to_choose(run: Run, head: Path, tmp_path: Path) -> None:
    own, cut, seen = (tmp_path / f"{name}.npz" for name in ("own", "cut", "seen"))
    assert run("mesh", head, "-o", own, "--resolution", 48).code == 0
    assert run("mesh", head, "-o", cut, "--resolution", 48, "--border", 0.2).code == 0
    assert np.abs(np.load(cut)["vertices"]).max() < 0.35 < np.abs(np.load(own)["vertices"]).max()
    assert run("mesh", head, "-o", seen, "--resolution", 48, "--colors", "photo").code == 0
    assert not np.array_equal(np.load(seen)["colors"], np.load(own)["colors"])
    wrong = run("mesh", head, "-o", own, "--resolution", 48, "--colors", "pink")
    assert wrong.code == 2
    assert "photo, model" in wrong.complaint()
    assert run("mesh", head, "-o", own, "--border", 0.5).code == 2
    assert run("mesh", head, "-o", cut, "--resolution", 48, "--floor", 0.1).code == 0  # to a step of the lattice
    assert np.load(cut)["vertices"][:, 1].min() == pytest.approx(0.1, abs=1 / 47)


def test_captures_become_pictures_and_turntables(run: Run, head: Path, tmp_path: Path) -> None:
    assert run("render", head, "-o", tmp_path / "source.png", "--size", 32).code == 0
    assert run("render", head, "-o", tmp_path / "side.png", "--yaw", -30, "--size", 32).code == 0
    source, side = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("source", "side"))
    np.testing.assert_array_equal(source, np.asarray(Capture.load(head).render(size=32)))
    assert not np.array_equal(source, side)
    assert run("turntable", head, "-o", tmp_path / "turn.mp4", "--frames", 4, "--size", 32).code == 0
    assert len(decoded(tmp_path / "turn.mp4")) == 4


def test_pictures_show_what_is_asked_for_from_where_it_is_asked_for(run: Run, head: Path, tmp_path: Path) -> None:
    camera = ("--radius", 2.4, "--fov", 25, "--look-at", "-0.1,0,0.05", "--size", 32)
    framing = Framing(2.4, 25.0, (-0.1, 0.0, 0.05))
    capture = Capture.load(head)
    for show, mode in (("rgb", "RGB"), ("depth", "I;16"), ("normals", "RGB"), ("mask", "L")):
        result = run("render", head, "-o", tmp_path / f"{show}.png", "--yaw", 15, "--show", show, *camera)
        assert result.code == 0, result.err
        with Image.open(tmp_path / f"{show}.png") as picture:
            assert picture.mode == mode
            expected = capture.render(15, size=32, framing=framing, show=show)
            np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))


def test_turntables_come_in_every_format(run: Run, head: Path, tmp_path: Path) -> None:
    for name in ("turn.webm", "turn.gif"):
        result = run("turntable", head, "-o", tmp_path / name, "--frames", 4, "--size", 32, "--path", "spiral")
        assert result.code == 0, result.err
        assert len(decoded(tmp_path / name)) == 4
    options = ("--frames", 3, "--size", 33, "--pitch", 10, "--radius", 2.4)
    assert run("turntable", head, "-o", tmp_path / "turn", *options).code == 0
    assert sorted(file.name for file in (tmp_path / "turn").iterdir()) == ["0000.png", "0001.png", "0002.png"]
    side = Capture.load(head).render(120, 10, 33, framing=Framing(radius=2.4))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "turn" / "0001.png")), np.asarray(side))
    again = run("turntable", head, "-o", tmp_path / "turn", *options)
    assert again.code == 1
    assert "there already" in again.complaint()


def test_views_that_can_not_be_are_refused(run: Run, head: Path, model: tuple[str, Path], tmp_path: Path) -> None:
    picture, video = ("render", head, "-o", tmp_path / "a.png"), ("turntable", head, "-o", tmp_path / "a.mp4")
    for arguments, message in (
        ((*picture, "--show", "albedo"), "rgb, depth, normals, mask"),
        (("render", head, "-o", tmp_path / "a.jpg", "--show", "depth"), ".png"),
        ((*picture, "--fov", 0.5), "field of view"),
        ((*picture, "--radius", "nan"), "distance"),
        ((*picture, "--look-at", "1,2"), "X,Y,Z"),
        ((*picture, "--look-at", "1,2,high"), "X,Y,Z"),
        ((*picture, "--look-at", "0,0,inf"), "three numbers"),
        ((*picture, "--super-resolution", model[1]), "no super-resolution"),
        ((*video, "--path", "zigzag"), "ring, spiral"),
        ((*video, "--path", "spiral", "--pitch", 75), "pitch"),
        ((*video, "--radius", 0), "distance"),
        ((*video, "--super-resolution", model[1]), "no super-resolution"),
    ):
        result = run(*arguments)
        assert (result.code, arguments) == (2, arguments), result.err
        assert message in result.complaint()
    assert not list(tmp_path.iterdir())


def test_quiet_is_silent(run: Run, photo: Path, head: Path, model: tuple[str, Path], tmp_path: Path) -> None:
    for arguments in (
        ("capture", photo, "-o", tmp_path / "a.npz", "--resolution", 32, *model),
        ("align", photo, "-o", tmp_path / "a.png"),
        ("render", head, "-o", tmp_path / "b.png", "--size", 32),
        ("mesh", head, "-o", tmp_path / "b.obj", "--resolution", 32),
    ):
        result = run(*arguments, "--quiet")
        assert (result.code, result.out, result.err) == (0, "", "")


def png_bomb() -> bytes:
    """A small file that claims to unpack to 60000 x 60000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encoded(picture: np.ndarray, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind)
    return stream.getvalue()


BAD_PHOTOS = {
    "empty.jpg": b"",
    "text.jpg": b"This is no picture.",
    "script.png": b"#!/bin/sh\nexit 0\n",
    "truncated.jpg": encoded(skimage.data.astronaut(), "JPEG")[:3000],
    "header.png": encoded(skimage.data.astronaut())[:40],
    "bomb.png": png_bomb(),
    "one_pixel.png": encoded(np.zeros((1, 1, 3), np.uint8)),
    "line.png": encoded(np.zeros((1, 5000, 3), np.uint8)),
    "black.png": encoded(np.zeros((300, 300, 3), np.uint8)),
    "noise.png": encoded(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)),
    "coffee.jpg": encoded(skimage.data.coffee(), "JPEG"),
    "pdf.jpg": b"%PDF-1.7\n" + b"0" * 1000,
}


@pytest.mark.parametrize("name", BAD_PHOTOS)
def test_bad_photos_give_one_line_and_no_file(run: Run, name: str, model: tuple[str, Path], tmp_path: Path) -> None:
    bad, out = tmp_path / name, tmp_path / "out"
    bad.write_bytes(BAD_PHOTOS[name])
    out.mkdir()
    result = run("capture", bad, "-o", out / "head.glb", *model)
    assert result.code == 1
    assert name in result.complaint()
    assert not list(out.iterdir())


def test_a_folder_of_failures_is_not_made(run: Run, model: tuple[str, Path], tmp_path: Path) -> None:
    for name in ("text.jpg", "empty.jpg"):
        (tmp_path / name).write_bytes(BAD_PHOTOS[name])
    result = run("capture", tmp_path / "text.jpg", tmp_path / "empty.jpg", "-o", tmp_path / "heads", *model)
    assert result.code == 1
    assert len(result.err.strip().splitlines()) == 2
    assert not (tmp_path / "heads").exists()


def test_missing_photos_and_folders_instead_of_photos_are_named(
    run: Run, model: tuple[str, Path], tmp_path: Path
) -> None:
    for bad in (tmp_path / "nowhere.jpg", tmp_path):
        result = run("capture", bad, "-o", tmp_path / "head.glb", *model)
        assert result.code == 1
        result.complaint()
    assert not list(tmp_path.iterdir())


def test_bad_captures_give_one_line_and_no_file(run: Run, head: Path, tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.capture", tmp_path / "out"
    out.mkdir()
    for content in (b"", b"text", head.read_bytes()[:-9]):
        bad.write_bytes(content)
        for arguments in (("mesh", bad, "-o", out / "a.glb"), ("render", bad, "-o", out / "a.png")):
            result = run(*arguments)
            assert result.code == 1
            assert "bad.capture" in result.complaint()
    assert not list(out.iterdir())


def test_outputs_are_checked_before_the_work(
    run: Run, photo: Path, head: Path, model: tuple[str, Path], tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    # Neither photo nor model nor capture is there: the output is what is told.
    for arguments, code in (
        (("capture", "no.jpg", "-o", tmp_path / "head.xyz"), 2),
        (("capture", "no.jpg", "-o", nowhere / "head.glb"), 1),
        (("capture", "no.jpg", "no.png", "-o", tmp_path / "head.glb"), 2),
        (("capture", "no.jpg", "no.png", "-o", tmp_path / "heads", "--format", "exe"), 2),
        (("capture", "no.jpg", "no.png", "-o", nowhere / "heads"), 1),
        (("mesh", "no.capture", "-o", tmp_path / "head.capture"), 2),
        (("render", "no.capture", "-o", tmp_path / "view.txt"), 2),
        (("turntable", "no.capture", "-o", tmp_path / "turn.avi"), 2),
        (("turntable", "no.capture", "-o", nowhere / "turn"), 1),
        (("align", "no.jpg", "-o", tmp_path / "crop.png", "--label", tmp_path / "label.txt"), 2),
        (("align", "no.jpg", "-o", nowhere / "crop.png"), 1),
    ):
        result = run(*arguments)
        assert (result.code, arguments) == (code, arguments), result.err
        assert "no.jpg" not in result.complaint()
    assert not list(tmp_path.iterdir())


def test_bad_options_are_bad_usage(run: Run, photo: Path, head: Path, tmp_path: Path) -> None:
    for arguments in (
        ("capture",),
        ("capture", photo),
        ("capture", photo, "-o", tmp_path / "a.glb", "--resolution", "many"),
        ("capture", photo, "-o", tmp_path / "a.glb", "--face", -1),
        ("turntable", head, "-o", tmp_path / "a.mp4", "--frames", 0),
        ("turntable", head, "-o", tmp_path / "a.mp4", "--size", 33),
        ("render", head, "-o", tmp_path / "a.png", "--pitch", 120),
        ("nonsense",),
        ("models", "nonsense"),
    ):
        result = run(*arguments)
        assert (result.code, arguments) == (2, arguments)
        assert "Traceback" not in result.err
    assert not list(tmp_path.iterdir())


def test_unknown_models_and_devices_are_named(run: Run, photo: Path, model: tuple[str, Path], tmp_path: Path) -> None:
    for options in (("--model", "someone-elses"), (*model, "--device", "cuda:77"), (*model, "--device", "tpu")):
        result = run("capture", photo, "-o", tmp_path / "a.glb", *options)
        assert result.code == 1
        result.complaint()


def test_unforeseen_failures_are_one_line_and_debug_says_where(
    run: Run, head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("something\nover zero")

    monkeypatch.setattr(Capture, "load", broken)
    result = run("mesh", head, "-o", tmp_path / "a.glb")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "ZeroDivisionError: something over zero" in result.err
    assert "--debug" in result.err
    assert "Traceback" in run("--debug", "mesh", head, "-o", tmp_path / "a.glb").err


def test_models_are_listed_with_their_licences(run: Run) -> None:
    result = run("models", "list")
    assert result.code == 0
    heads, _, losses = result.out.partition("For losses and measures:\n")
    assert [line.split()[0] for line in heads.splitlines()] == ["synthetic-heads", "triplanenet-v2", "triplanenet-v1"]
    assert [line.split()[0] for line in losses.splitlines()] == ["loss-lpips", "loss-identity"]
    assert result.out.count("non-commercial") == 2


def test_the_doctor_speaks_in_sentences_problems_first(run: Run) -> None:
    result = run("doctor")
    lines = result.out.splitlines()
    problems = [line.startswith("Problem: ") for line in lines]
    assert problems == sorted(problems, reverse=True)
    assert result.code == (1 if any(problems) else 0)
    assert all(line.endswith(".") for line in lines)
    for word in ("torch", "cpu", "threads", "synthetic-heads", "H.264", "portrait"):
        assert word in result.out


def test_the_doctor_says_how_to_get_a_missing_model(run: Run, models: Path) -> None:
    out = run("doctor").out
    assert "The model triplanenet-v2 is not here: fetch it with `tpn models get triplanenet-v2`" in out
    assert f"Your own models belong into {models}." in out


def in_own_process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tpn_engine", *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C, and so would what they start.
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) if sys.platform != "win32" else None,
    )


def test_help_and_version_need_no_torch() -> None:
    code = "import sys; sys.argv = ['tpn', '--help']; from tpn_engine.cli import main\n"
    code += "try: main()\nexcept SystemExit: sys.exit('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert ended.returncode == 0
    for command in ("align", "capture", "mesh", "render", "turntable", "models", "doctor"):
        assert command in ended.stdout
    version = in_own_process("--version")
    assert version.communicate()[0].startswith("tpn ")
    assert version.returncode == 0


def test_ctrl_c_leaves_nothing_behind(head: Path, tmp_path: Path) -> None:
    process = in_own_process("turntable", head, "-o", tmp_path / "turn.mp4", "--frames", 9999, "--size", 64)
    while not list(tmp_path.iterdir()):  # the unfinished file
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())
