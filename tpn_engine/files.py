"""How every file of this package is written: whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tpn_engine.errors import FileError, OptionError


def checked_output(path: str | os.PathLike[str], suffixes: Collection[str]) -> Path:
    """`path` if something with one of `suffixes` (lower case, with the dot) can be written there.

    Raises OptionError for another suffix and FileError for a folder that is missing or can't be
    written to, so that nobody waits for a result that has nowhere to go.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise OptionError(f"{path.name!r} must end in one of {', '.join(sorted(suffixes))}.")
    if path.is_dir():
        raise FileError(f"{path} is a folder: give the name of a file.")
    if not path.parent.is_dir():
        raise FileError(f"There is no folder {path.parent}: make it first or choose another one.")
    if not os.access(path.parent, os.W_OK):
        raise FileError(f"The folder {path.parent} can't be written to: choose another one.")
    return path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a name beside `path`, with its suffix; what is written there becomes `path` at the end.

    On any exception, Ctrl-C included, the unfinished file is removed and `path` stays as it was.
    Raises FileError where the system refuses the write.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise FileError(f"{path} could not be written ({reason}): is the disk full?") from error
    finally:
        unfinished.unlink(missing_ok=True)
