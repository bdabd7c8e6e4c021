"""Pictures to an .mp4 that plays everywhere: H.264, yuv420p."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from tpn_engine.errors import FileError, OptionError
from tpn_engine.files import checked_output, replacing

SUFFIXES = (".mp4",)
_QUALITY = {"crf": "16", "preset": "medium"}  # visually lossless; the head fills the picture
_BT709 = 1  # FFmpeg's number for it; untagged video is shown with guessed colours


def write_video(path: str | os.PathLike[str], frames: Iterable[np.ndarray], *, fps: int = 24) -> None:
    """Write `frames`, each [H, W, 3] float32 sRGB in [0, 1] with even H and W, as they come.

    The file appears when the last frame is in it. Raises OptionError for odd sizes or another suffix
    than .mp4, FileError where it can't be written.
    """
    import av  # FFmpeg takes a while to load and only videos need it
    from av.error import FFmpegError

    path = checked_output(path, SUFFIXES)
    with replacing(path) as unfinished:
        try:
            with av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as container:
                stream = container.add_stream("libx264", rate=fps, options=_QUALITY)
                stream.pix_fmt = "yuv420p"
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = _BT709
                for index, frame in enumerate(frames):
                    height, width = frame.shape[:2]
                    if height % 2 or width % 2:
                        raise OptionError("A video's size must be even.")
                    if index == 0:
                        stream.width, stream.height = width, height
                    picture = np.ascontiguousarray((frame.clip(0, 1) * 255 + 0.5).astype(np.uint8))
                    rgb = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    container.mux(stream.encode(rgb.reformat(format="yuv420p", dst_colorspace="ITU709")))
                container.mux(stream.encode())
        except FFmpegError as error:
            raise FileError(f"{path} could not be encoded ({error.strerror}).") from error
