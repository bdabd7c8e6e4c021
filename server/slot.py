"""A service's own place in a cache folder that several services may share."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

SLOTS = 16

_log = logging.getLogger("tpn.server")


class Slot:
    """A folder `service-<number>` that belongs to one living service: its queue and its connection file.

    The lock ends with the process, however it ends, and the next service goes on with the queue. `problem`
    is a sentence where nothing can be kept on disk.
    """

    def __init__(self, number: int, folder: Path, lock: BinaryIO | None, problem: str | None) -> None:
        self.number = number
        self.folder = folder
        self.problem = problem
        self._lock = lock

    @classmethod
    def take(cls, cache_folder: Path) -> Slot:
        """The first place that no living service holds."""
        for number in range(SLOTS):
            folder = cache_folder / f"service-{number}"
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock = (folder / "lock").open("ab")
            except OSError as error:
                problem = (
                    f"The cache folder {cache_folder} can't be written to ({error.strerror}): "
                    "free space there or choose another one with --cache-folder."
                )
                return cls(number, folder, None, problem)
            if _locked(lock):
                return cls(number, folder, lock, None)
            lock.close()
        problem = f"{SLOTS} services use the cache folder {cache_folder}: choose another one with --cache-folder."
        return cls(SLOTS, cache_folder / f"service-{SLOTS}", None, problem)

    @property
    def connection_file(self) -> Path:
        return self.folder / "connection.json"

    def publish(self, connection: Mapping[str, object]) -> None:
        """Write how to reach this service, for programs of the same user only."""
        if self._lock is None:
            return
        unfinished = self.connection_file.with_suffix(".unfinished")
        try:
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(connection, file)
            os.replace(unfinished, self.connection_file)
        except OSError as error:
            _log.warning("The connection file was not written: %s", error)

    def leave(self) -> None:
        """Give the place back; the queue stays."""
        if self._lock is not None:
            with suppress(OSError):
                self.connection_file.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None


def _locked(file: BinaryIO) -> bool:
    """Take the lock on an open file; False if a living process has it."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # network file systems without locks
        _log.warning("The lock of the cache folder does not work: %s", error)
    return True
