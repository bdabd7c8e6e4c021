"""Pictures to a folder of numbered .png files."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tpn_engine.errors import FileError
from tpn_engine.files import checked_output
from tpn_engine.views.pictures import rgb_picture


def checked_folder(path: str | os.PathLike[str]) -> Path:
    """`path` if a new folder can be made there; raises FileError, also where something is already."""
    path = Path(path)
    if path.exists():
        raise FileError(f"{path} is there already: give the name of a new folder, or a suffix for a video.")
    return checked_output(path, ("",))


def write_folder(path: str | os.PathLike[str], frames: Iterable[np.ndarray]) -> None:
    """Write `frames`, each [H, W, 3] float32 sRGB in [0, 1], as 0000.png, 0001.png and so on.

    The folder appears when the last frame is in it. Raises FileError where it can't be written.
    """
    path = checked_folder(path)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        unfinished.mkdir()
        for index, frame in enumerate(frames):
            rgb_picture(frame).save(unfinished / f"{index:04d}.png")
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(f"{path} could not be written ({reason}): is the disk full?") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
