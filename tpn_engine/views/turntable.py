"""The files that a turntable can be, told by their suffix."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tpn_engine.errors import OptionError
from tpn_engine.files import checked_output
from tpn_engine.views import gif, video
from tpn_engine.views.folder import checked_folder, write_folder

SUFFIXES = (*video.SUFFIXES, *gif.SUFFIXES)


def checked_turntable(path: str | os.PathLike[str], size: int) -> Path:
    """`path` if a turntable of `size` pixels can be written there; one without a suffix is a folder.

    Raises OptionError for another suffix than SUFFIXES or an odd size of a video, and FileError.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if not suffix:
        return checked_folder(path)
    if suffix not in SUFFIXES:
        kinds = ", ".join(SUFFIXES)
        raise OptionError(f"{path.name!r} must end in one of {kinds}, or in no suffix for a folder of .png files.")
    if suffix in video.SUFFIXES and size % 2:
        raise OptionError("A video's size must be even.")
    return checked_output(path, SUFFIXES)


def write_turntable(path: str | os.PathLike[str], frames: Iterable[np.ndarray]) -> None:
    """Write `frames`, each [H, W, 3] float32 sRGB in [0, 1]; raises OptionError and FileError."""
    suffix = Path(path).suffix.lower()
    if not suffix:
        write_folder(path, frames)
    elif suffix in gif.SUFFIXES:
        gif.write_gif(path, frames)
    else:
        video.write_video(path, frames)
