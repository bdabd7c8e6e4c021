"""Pictures to an animated .gif."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
from PIL import Image

from tpn_engine.files import checked_output, replacing
from tpn_engine.views.pictures import rgb_picture

SUFFIXES = (".gif",)


def write_gif(path: str | os.PathLike[str], frames: Iterable[np.ndarray], *, fps: int = 24) -> None:
    """Write `frames`, each [H, W, 3] float32 sRGB in [0, 1], as a loop without an end.

    Each frame has 256 colours of its own and lasts whole hundredths of a second, as the format has it; equal
    neighbours become one that lasts longer. The file appears when the last frame is in it. Raises OptionError
    for another suffix, FileError where it can't be written.
    """
    path = checked_output(path, SUFFIXES)
    pictures = (rgb_picture(frame).quantize(256, Image.Quantize.MEDIANCUT) for frame in frames)
    first = next(pictures)
    with replacing(path) as unfinished:
        first.save(unfinished, save_all=True, append_images=pictures, duration=10 * round(100 / fps), loop=0)
