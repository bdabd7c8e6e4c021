"""Turntables read back as they were written, and are written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from videos import decoded

from tpn_engine.errors import FileError, OptionError
from tpn_engine.views.gif import write_gif
from tpn_engine.views.turntable import checked_turntable, write_turntable
from tpn_engine.views.video import write_video


def shades(count: int, size: int = 64) -> Iterator[np.ndarray]:
    for index in range(count):
        frame = np.zeros((size, size + 32, 3), np.float32)
        frame[:] = (0.8, index / count, 0.2)
        yield frame


@pytest.mark.parametrize(("name", "codec"), [("turn.mp4", "h264"), ("turn.webm", "vp9")])
def test_videos_read_back_with_every_frame_their_size_and_their_colours(name: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / name
    write_video(path, shades(10), fps=25)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == (codec, 96, 64)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
    frames = decoded(path)
    assert len(frames) == 10
    for frame, expected in zip(frames, shades(10), strict=True):
        assert np.abs(frame / 255 - expected).max() < 0.02
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_gifs_read_back_with_every_frame_and_never_end(tmp_path: Path) -> None:
    path = tmp_path / "turn.GIF"
    write_gif(path, shades(10, 63), fps=25)
    frames = decoded(path)
    assert [frame.shape for frame in frames] == [(63, 95, 3)] * 10
    for frame, expected in zip(frames, shades(10, 63), strict=True):
        assert np.abs(frame / 255 - expected).max() < 0.02
    with Image.open(path) as picture:
        assert (picture.info["loop"], picture.info["duration"]) == (0, 40)


def test_folders_hold_every_frame_in_order(tmp_path: Path) -> None:
    write_turntable(tmp_path / "turn", shades(10, 63))
    files = sorted((tmp_path / "turn").iterdir())
    assert [file.name for file in files] == [f"{index:04d}.png" for index in range(10)]
    for file, expected in zip(files, shades(10, 63), strict=True):
        with Image.open(file) as picture:
            np.testing.assert_allclose(np.asarray(picture) / 255, expected, atol=0.51 / 255)
    assert list(tmp_path.iterdir()) == [tmp_path / "turn"]


@pytest.mark.parametrize("name", ["turn.mp4", "turn.webm", "turn.gif", "turn"])
def test_a_turntable_that_fails_leaves_what_was_there(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix:
        path.write_bytes(b"old")

    def interrupted() -> Iterator[np.ndarray]:
        yield from shades(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_turntable(path, interrupted())
    if path.suffix:
        assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ([name] if path.suffix else [])


def test_turntables_refuse_what_they_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    refusals: tuple[tuple[str, int, type[Exception], str], ...] = (
        ("turn.avi", 64, OptionError, r"\.mp4, \.webm, \.gif, or in no suffix"),
        ("turn.png", 64, OptionError, "folder of .png"),
        ("turn.mp4", 63, OptionError, "even"),
        ("turn.webm", 63, OptionError, "even"),
        ("nowhere/turn.mp4", 64, FileError, "no folder"),
        ("nowhere/turn.gif", 64, FileError, "no folder"),
        ("nowhere/turn", 64, FileError, "no folder"),
        ("full", 64, FileError, "there already"),
    )
    for name, size, error, message in refusals:
        with pytest.raises(error, match=message):
            checked_turntable(tmp_path / name, size)
    for name, size in (("turn.gif", 63), ("turn", 63), ("turn.webm", 64)):
        assert checked_turntable(tmp_path / name, size) == tmp_path / name
    with pytest.raises(OptionError, match="even"):
        write_video(tmp_path / "turn.mp4", shades(2, 63))
    with pytest.raises(OptionError, match=r"\.webm"):
        write_video(tmp_path / "turn.gif", shades(2))
    with pytest.raises(FileError, match="there already"):
        write_turntable(tmp_path / "full", shades(2))
    assert [file.name for file in tmp_path.iterdir()] == ["full"]
