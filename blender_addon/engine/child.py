# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Another program, started beside Blender: its lines as they come, its end, and how to end it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from .errors import EngineError, plain

LINES = 2000  # kept for whoever asks late
LONGEST = 4096  # bytes of a line
LAST_WORDS_SECONDS = 1.0  # after the end, for output still on its way

# What Blender or the user set for other Pythons than the one that is started.
_NOT_PASSED_ON = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")
_WITHOUT_WINDOW = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP if sys.platform == "win32" else 0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Child:
    """A program that runs in `folder`. Nothing of it blocks; raises EngineError "environment" if it can't be started.

    Its output is read by a thread that touches nothing but a queue, because Windows has no pipes that
    can be read without waiting.
    """

    def __init__(
        self, command: Sequence[str | os.PathLike[str]], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
        try:
            self._process = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**inherited, "PYTHONUNBUFFERED": "1", **(environment or {})},
                creationflags=_WITHOUT_WINDOW,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise EngineError("environment", f"{command[0]} can't be started ({plain(str(reason))}).") from error
        self._ended: float | None = None
        self._queue: deque[str] = deque(maxlen=LINES)
        self._reader = threading.Thread(target=_read, args=(self._process.stdout, self._queue), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs, or while its last words are on their way."""
        code = self._process.poll()
        if code is None:
            return None
        if self._ended is None:
            self._ended = time.monotonic()
        # Its own children may hold the pipe open; nobody waits for them.
        silent = not self._reader.is_alive() or time.monotonic() - self._ended > LAST_WORDS_SECONDS
        return code if silent else None

    def new_lines(self) -> list[str]:
        """What it printed since the last call."""
        lines: list[str] = []
        with suppress(IndexError):
            while True:
                lines.append(self._queue.popleft())
        return lines

    def kill(self) -> None:
        """End it and the programs it started, at once."""
        if self._process.poll() is not None:
            return
        if sys.platform == "win32":
            # The system's own, by its full path: another taskkill may be in the current folder.
            taskkill = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "taskkill.exe"
            with suppress(OSError):
                subprocess.Popen(
                    [os.fspath(taskkill), "/T", "/F", "/PID", str(self._process.pid)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    creationflags=_WITHOUT_WINDOW,
                )
        else:
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None


def _read(stream: BinaryIO, queue: deque[str]) -> None:
    with suppress(OSError, ValueError), stream:
        while line := stream.readline(LONGEST):
            text = plain(_ESCAPES.sub("", line.decode("utf-8", "replace")), LONGEST)
            if text:
                queue.append(text)
