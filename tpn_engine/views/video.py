"""Pictures to a video that plays everywhere: H.264 in .mp4 or VP9 in .webm, yuv420p."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tpn_engine.errors import FileError, OptionError
from tpn_engine.files import checked_output, replacing
from tpn_engine.views.pictures import eight_bits


@dataclass(frozen=True)
class _Kind:
    """A container and its codec, with what each is told."""

    container: str
    container_options: dict[str, str]
    codec: Literal["libx264", "libvpx-vp9"]
    codec_options: dict[str, str]


# Visually lossless: the head fills the picture. VP9 takes its quality from crf only where there is no rate.
_KINDS = {
    ".mp4": _Kind("mp4", {"movflags": "faststart"}, "libx264", {"crf": "16", "preset": "medium"}),
    ".webm": _Kind("webm", {}, "libvpx-vp9", {"crf": "18", "b": "0", "cpu-used": "4", "row-mt": "1"}),
}
SUFFIXES = tuple(_KINDS)
_BT709 = 1  # FFmpeg's number for it; untagged video is shown with guessed colours


def write_video(path: str | os.PathLike[str], frames: Iterable[np.ndarray], *, fps: int = 24) -> None:
    """Write `frames`, each [H, W, 3] float32 sRGB in [0, 1] with even H and W, as they come.

    The file appears when the last frame is in it. Raises OptionError for odd sizes or a suffix that is
    not in SUFFIXES, FileError where it can't be written.
    """
    from av.error import FFmpegError  # FFmpeg takes a while to load and only videos need it

    path = checked_output(path, SUFFIXES)
    with replacing(path) as unfinished:
        try:
            _encode(unfinished, _KINDS[path.suffix.lower()], frames, fps)
        except FFmpegError as error:
            raise FileError(f"{path} could not be encoded ({error.strerror}).") from error


def _encode(path: Path, kind: _Kind, frames: Iterable[np.ndarray], fps: int) -> None:
    import av

    with av.open(str(path), "w", format=kind.container, options=kind.container_options) as container:
        stream = container.add_stream(kind.codec, rate=fps, options=kind.codec_options)
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        for index, frame in enumerate(frames):
            height, width = frame.shape[:2]
            if height % 2 or width % 2:
                raise OptionError("A video's size must be even.")
            if index == 0:
                stream.width, stream.height = width, height
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(eight_bits(frame)), format="rgb24")
            container.mux(stream.encode(rgb.reformat(format="yuv420p", dst_colorspace="ITU709")))
        container.mux(stream.encode())
