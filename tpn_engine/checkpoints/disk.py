"""Whether something fits on a disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from tpn_engine.errors import FileError


def check_room(folder: Path, needed: int) -> None:
    """Raise FileError where `needed` bytes do not fit on the folder's disk."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FileError(
            f"The disk of {folder} is too full: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free."
        )
