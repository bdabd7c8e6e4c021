"""Finished captures and what was made from them, on disk, by their content.

Names are flat: `<key>.capture`, `<key>.json` (its facts) and `<key>.<what>` for each file made from it. A
file's time of modification is when it was last used. Nothing is held in memory, so that two services can
share a folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tpn_engine.version import __version__

LEFTOVER_SECONDS = 3600.0  # after which an unfinished file belongs to nobody

_log = logging.getLogger("tpn.server")


def capture_key(
    photo_sha256: str, model_sha256: str, method: str, seconds: float | None, face: int | None, level: bool
) -> str:
    """The name under which the capture of a photo is kept: 64 hexadecimal digits."""
    parts = [__version__, photo_sha256, model_sha256, method, seconds, face, level]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    used: float

    @property
    def key(self) -> str:
        return self.path.name.partition(".")[0]

    @property
    def is_capture(self) -> bool:
        return self.path.suffix == ".capture"


class CaptureCache:
    """A folder of captures that takes at most `limit` bytes; the least recently used go first."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def capture(self, key: str) -> Path:
        """Where the capture is or belongs."""
        return self.folder / f"{key}.capture"

    def facts(self, key: str) -> Path:
        """Where the capture's facts are or belong."""
        return self.folder / f"{key}.json"

    def made(self, key: str, what: str) -> Path:
        """Where something made from the capture is or belongs; `what` ends in its suffix."""
        return self.folder / f"{key}.{what}"

    def find(self, key: str) -> dict[str, Any] | None:
        """The facts of a capture that is here, None otherwise; counts as a use."""
        try:
            facts = json.loads(self.facts(key).read_text(encoding="utf-8"))
            os.utime(self.capture(key))
        except (OSError, ValueError):
            return None
        return facts

    def open(self, key: str, what: str) -> BinaryIO | None:
        """Something made before, opened, so that it can be evicted and still be read; counts as a use."""
        path = self.made(key, what)
        try:
            file = path.open("rb")
        except OSError:
            return None
        for used in (path, self.capture(key)):  # the capture last: it never goes before what it was used for
            with suppress(OSError):
                os.utime(used)
        return file

    def drop(self, key: str) -> None:
        """Forget a capture and all that was made from it."""
        for path in self.folder.glob(f"{key}.*"):
            with suppress(OSError):
                path.unlink()

    def evict(self, keep: Path) -> None:
        """Remove what was not used for longest until the rest fits; `keep`, just written, and its capture stay."""
        files = sorted(self._files(), key=lambda file: (file.used, file.is_capture))
        total = sum(file.size for file in files)
        for file in files:
            if total <= self.limit:
                return
            if not file.path.exists() or file.path == keep or file.path.suffix == ".json":
                continue
            if file.is_capture:
                if file.key != keep.name.partition(".")[0]:
                    total -= sum(other.size for other in files if other.key == file.key and other.path.exists())
                    self.drop(file.key)
                    _log.info("Evicted the capture %s", file.key[:12])
            else:
                total -= file.size
                with suppress(OSError):  # on Windows, one that is being read stays until the next time
                    file.path.unlink()

    def sweep(self) -> None:
        """Remove what killed processes left unfinished."""
        now = time.time()
        for entry in self._entries():
            if entry.name.startswith(".") and now - entry.stat().st_mtime > LEFTOVER_SECONDS:
                with suppress(OSError):
                    os.unlink(entry.path)

    def _files(self) -> Iterator[_File]:
        for entry in self._entries():
            if not entry.name.startswith("."):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    yield _File(Path(entry.path), status.st_size, status.st_mtime)

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            yield from entries
