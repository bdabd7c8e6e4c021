# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's process: found if one runs, started if none does, started again if it died."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from .answers import Health
from .child import Child
from .client import Client
from .connection import CONTRACT, Connection, parse_connection, published_connections
from .errors import EngineError, plain

LOOK_SECONDS = 2.0  # for an engine that says it runs to answer
CHECK_SECONDS = 5.0  # for the one we have used before
START_SECONDS = 180.0  # for a new one on a cold, slow disk that a virus scanner watches
STOP_SECONDS = 10.0  # between asking it to end and killing it
LAST_BYTES = 4096  # of a file whose last line is wanted

State = Literal["stopped", "starting", "ready", "failed"]


class Engine:
    """The one engine of this Blender; `step` it while it is starting.

    An engine that another Blender started is shared if its contract and device fit; it is never stopped
    from here. `model`: the name of a model, or the path of a .safetensors, and then the engine is never
    shared. `cache_size` in GB.
    """

    def __init__(
        self,
        python: Path,
        cache_folder: Path,
        log_folder: Path,
        device: str,
        model: str,
        parent_pid: int,
        cache_size: float = 4.0,
    ) -> None:
        self.state: State = "stopped"
        self.error = ""
        self.client: Client | None = None  # while ready
        self.health: Health | None = None  # the last there was
        self.lines: deque[str] = deque(maxlen=200)  # what it printed
        self._python = python
        self._cache_folder = cache_folder
        self._log_folder = log_folder
        self._options = ["--device", device, "--model", model, "--cache-size", str(cache_size)]
        self._device = device
        self._shareable = not model.endswith(".safetensors")
        self._parent_pid = parent_pid
        self._child: Child | None = None
        self._candidates: list[Connection] = []
        self._asked: Client | None = None
        self._asked_until = 0.0
        self._launched = False  # since the last start
        self._given_up: set[Connection] = set()
        self._ending: list[tuple[Child, float]] = []

    @property
    def owned(self) -> bool:
        """Whether this Blender started it."""
        return self._child is not None

    @property
    def log_file(self) -> Path:
        """Where the engine writes what it does; the first of several if several run."""
        return self._log_folder / "service.log"

    @property
    def worker_words(self) -> str:
        """The last line that a process which computes printed; "" if there is none."""
        with suppress(OSError, ValueError):
            files = list(self._log_folder.glob("worker*.txt"))
            with max(files, key=lambda file: file.stat().st_mtime).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
                lines = file.read().decode("utf-8", "replace").split("\n")
                return next((plain(line, 300) for line in reversed(lines) if line.strip()), "")
        return ""

    def start(self) -> None:
        """Begin to find or start an engine; one that is ready is asked whether it still is."""
        if self.state == "starting":
            return
        self.state, self.error = "starting", ""
        known, self.client = self.client, None
        self._candidates = published_connections(self._cache_folder) if self._shareable else []
        self._asked = None
        self._launched = False
        if known is not None:
            self._ask(known.connection, CHECK_SECONDS)

    def step(self) -> None:
        """Go on, for at most 50 ms."""
        self._bury()
        if self._child is not None:
            self._hear(self._child)
        if self.state == "starting":
            try:
                self._start_on()
            except EngineError as error:
                self._fail(error.message)
        elif self.state == "ready" and self._child is not None and self._child.returncode is not None:
            self._child, self.client, self.state = None, None, "stopped"
            self.error = f"The engine has ended. {self._last_words()}".strip()

    def stop(self, seconds: float = 0.0) -> None:
        """End the engine if this Blender started it; wait for its end for so long at most.

        Without waiting it ends by itself a moment later. Its files can be replaced only after its end.
        """
        client, child = self.client or self._asked, self._child
        self._child, self.client, self._asked, self.state = None, None, None, "stopped"
        if child is not None:
            try:
                if client is None:
                    raise EngineError("unreachable", "It does not listen yet.")
                self._given_up.add(client.connection)
                client.shutdown()
            except EngineError:
                child.kill()
            if seconds and not child.wait(seconds):
                child.kill()
            self._ending.append((child, time.monotonic() + STOP_SECONDS))
        if seconds:
            self._end_all(seconds)

    def restart(self) -> None:
        """End it, and start another one."""
        self.stop()
        self.start()

    def _start_on(self) -> None:
        if self._asked is not None:
            self._listen(self._asked)
        elif self._child is not None:
            self._await_handshake(self._child)
        elif self._candidates:
            connection = self._candidates.pop(0)
            if connection.contract == CONTRACT and connection not in self._given_up:
                self._ask(connection, LOOK_SECONDS)
        else:
            self._launch()

    def _ask(self, connection: Connection, seconds: float) -> None:
        self._asked, self._asked_until = Client(connection), time.monotonic() + seconds

    def _listen(self, client: Client) -> None:
        """One question to the engine we may use; on to the next one if it is not to be had."""
        mine = self._child is not None
        try:
            health = client.health()
        except EngineError as error:
            died = mine and self._child is not None and self._child.returncode is not None
            if error.code == "slow" and not died and time.monotonic() < self._asked_until:
                return
            self._give_up(client)
            return
        if mine or self._fits(health):
            self.health, self.client, self._asked, self.state = health, client, None, "ready"
        elif health.device is not None or time.monotonic() > self._asked_until:
            self._asked = None

    def _fits(self, health: Health) -> bool:
        device = health.device or ""
        return (
            health.contract == CONTRACT
            and health.worker != "failing"
            and self._device in ("auto", device, device.partition(":")[0])
        )

    def _give_up(self, client: Client) -> None:
        if self._launched and self._child is not None:
            self._hear(self._child)
            raise EngineError("environment", self._why_it_ended())
        self._given_up.add(client.connection)
        self._asked = None
        if self._child is not None:
            self._child.kill()
            self._ending.append((self._child, 0.0))
            self._child = None

    def _launch(self) -> None:
        self._launched = True
        self.lines.clear()
        command: Sequence[str | Path] = [
            self._python,
            "-I",
            "-m",
            "server",
            "--port",
            "0",
            *self._options,
            "--cache-folder",
            self._cache_folder,
            "--log-folder",
            self._log_folder,
            "--parent-pid",
            str(self._parent_pid),
        ]
        try:
            self._cache_folder.mkdir(parents=True, exist_ok=True)
            # Threads that spin while they wait slow everything down as soon as Blender computes too.
            self._child = Child(command, self._cache_folder, {"OMP_WAIT_POLICY": "passive"})
        except OSError as error:
            message = f"The cache folder {self._cache_folder} can't be made ({error.strerror}): choose another one."
            raise EngineError("file", message) from error
        except EngineError as error:
            raise EngineError(error.code, f"{error.message} Press Set Up Engine in the preferences.") from error
        self._asked_until = time.monotonic() + START_SECONDS

    def _await_handshake(self, child: Child) -> None:
        if child.returncode is not None:
            self._hear(child)
            raise EngineError("environment", self._why_it_ended())
        if time.monotonic() > self._asked_until:
            raise EngineError(
                "unreachable", f"The engine did not start within {START_SECONDS:.0f} seconds. {self._last_words()}"
            )

    def _hear(self, child: Child) -> None:
        for line in child.new_lines():
            if self.state == "starting" and self._asked is None and line.startswith("{"):
                with suppress(EngineError):
                    connection = parse_connection(line)
                    if connection.contract != CONTRACT:
                        self._fail("The engine is of another version than this extension: press Update.")
                        return
                    self._ask(connection, START_SECONDS)
                    continue
            self.lines.append(line)

    def _why_it_ended(self) -> str:
        text = "\n".join(self.lines)
        if "No module named" in text or "is missing: pip install" in text:
            return (
                "The engine's environment is not complete: press Set Up Engine or Repair in the preferences. "
                + self._last_words()
            )
        return f"The engine could not be started: press Doctor in the preferences. {self._last_words()}"

    def _last_words(self) -> str:
        return f"It said: {self.lines[-1]}" if self.lines else ""

    def _fail(self, message: str) -> None:
        self.state, self.error = "failed", message.strip()
        self._asked = None
        if self._child is not None:
            self._child.kill()
            self._ending.append((self._child, 0.0))
            self._child = None

    def _bury(self) -> None:
        """See to it that what was told to end does."""
        for child, deadline in list(self._ending):
            if child.returncode is not None:
                self._ending.remove((child, deadline))
            elif time.monotonic() > deadline:
                child.kill()

    def _end_all(self, seconds: float) -> None:
        for child, _ in self._ending:
            child.kill()
            child.wait(seconds)
        self._ending.clear()
