# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A photo's way through the engine: start engine, wait, send, poll, fetch. Stepped by a timer, or in a loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from .answers import FINAL, CaptureFacts, CaptureStatus
from .client import Client
from .errors import EngineError
from .process import Engine
from .transfer import Transfer

PHOTO_LIMIT = 64 * 2**20  # bytes; the engine refuses larger ones
BLOCK = 2**22  # bytes read from or written to disk at once
POLL_SECONDS = 0.1  # between looks at how far a capture is
ALIVE_SECONDS = 1.0  # between looks at whether the engine lives while it makes a file
ANSWER_SECONDS = 15.0  # without any answer, after which the engine counts as stuck
ENGINE_SECONDS = 240.0  # for an engine to be found or started
STUCK_SECONDS = {"queued": 3600.0, "running": 1200.0}  # without any change; the engine's own limits are tighter
FILE_SECONDS = 3600.0  # for a file to be made, others' work before it included
FRESH_STARTS = 3  # of an engine that dies, before we give up

# Where each part lies in the whole: its beginning and its length.
ENGINE, UPLOAD, CAPTURE, MESH, CROP = (0.0, 0.05), (0.05, 0.05), (0.1, 0.65), (0.75, 0.22), (0.97, 0.03)

State = Literal["running", "done", "failed", "cancelled"]
Part = tuple[float, float]

# Yields True if it could go on at once, False if it has to wait.
_T = TypeVar("_T")
Steps = Generator[bool, None, _T]


@dataclass(frozen=True)
class ImportSettings:
    """What is asked for; `model` "" for the engine's own, `face` None for the largest, `colors` photo or model.

    A fit ends after `seconds`; None leaves that to the method.
    """

    photo: Path
    model: str
    method: str
    seconds: int | None
    resolution: int
    face: int | None
    level: bool
    colors: str

    @property
    def query(self) -> dict[str, str]:
        """As the engine wants it with the photo."""
        query = {"method": self.method, "level": "true" if self.level else "false", "name": self.photo.name[:200]}
        if self.model:
            query["model"] = self.model
        if self.seconds is not None:
            query["seconds"] = str(self.seconds)
        if self.face is not None:
            query["face"] = str(self.face)
        return query


@dataclass(frozen=True)
class ImportResult:
    """The head's files, and what is known about it; `camera`: the 25 numbers of the source camera's label."""

    name: str
    capture_id: str
    npz: Path
    crop: Path
    camera: list[float]
    iso_level: float
    provenance: dict[str, Any]


class _Job:
    """Work with an engine, a piece at a time; never longer than some ten milliseconds, and never for ever."""

    def __init__(self, engine: Engine) -> None:
        self.state: State = "running"
        self.stage = "Starting the engine"
        self.fraction = 0.0
        self.warnings: list[str] = []
        self.error = ""
        self._engine = engine
        self._seconds = 0.0
        self._transfer: Transfer | None = None
        self._work = self._steps()

    def step(self, seconds: float = 0.03) -> bool:
        """Go on for about so long; whether the work is over, well or not: `state` tells."""
        self._seconds = seconds
        end = time.monotonic() + seconds
        while self.state == "running":
            try:
                goes_on = next(self._work)
            except StopIteration:
                self._end("done")
            except EngineError as error:
                self._end("failed", self._explained(error))
            except OSError as error:
                reason = error.strerror or type(error).__name__
                self._end("failed", f"A file could not be read or written ({reason}): is the disk full?")
            else:
                if not goes_on or time.monotonic() >= end:
                    break
        return self.state != "running"

    def cancel(self) -> None:
        """Stop, in the engine too. Usually done at once; `step` until it is over all the same."""
        if self.state == "running":
            self._work.close()
            self.stage = "Cancelling"
            self._work = self._cancellation()
            self.step(0.0)

    def _steps(self) -> Steps[None]:
        raise NotImplementedError

    def _cancellation(self) -> Steps[None]:
        """Ends the transfer that goes on: the engine stops what it makes for it."""
        self._break_off()
        self._end("cancelled")
        yield False

    def _end(self, state: State, error: str = "") -> None:
        self._break_off()
        self.state, self.error = state, error
        self.stage = {"done": "Done", "failed": "Failed", "cancelled": "Cancelled"}.get(state, "")
        if state == "done":
            self.fraction = 1.0

    def _explained(self, error: EngineError) -> str:
        """The engine points to its command line where its worker does not start; artists have a button."""
        client = self._engine.client
        if error.code == "worker" and client is not None:
            with suppress(EngineError):
                if client.health().worker == "failing":
                    words = self._engine.worker_words
                    said = f" It said: {words}" if words else ""
                    return f"The engine can't compute: press Doctor or Repair in the preferences.{said}"
        return error.message

    def _reach(self, part: Part, fraction: float) -> None:
        """The bar never goes back, even where an engine that died has to begin anew."""
        self.fraction = max(self.fraction, part[0] + part[1] * fraction)

    def _break_off(self) -> None:
        transfer, self._transfer = self._transfer, None
        if transfer is not None:
            transfer.close()

    def _restarting(self, work: Callable[[Client], Steps[None]]) -> Steps[None]:
        """Do `work` with an engine that is there; again with a new one if it ends meanwhile."""
        for left in reversed(range(FRESH_STARTS)):
            client = yield from self._ready_client()
            try:
                yield from work(client)
                return
            except EngineError as error:
                self._break_off()
                if error.code not in ("unreachable", "stopping"):
                    raise
                if left == 0:
                    raise EngineError(
                        "unreachable", "The engine ends again and again: press Doctor in the preferences."
                    ) from error
            yield from _pause(0.3)

    def _ready_client(self) -> Steps[Client]:
        end = time.monotonic() + ENGINE_SECONDS
        self.stage = "Starting the engine"
        self._engine.start()
        while True:
            self._engine.step()
            client = self._engine.client
            if self._engine.state == "ready" and client is not None:
                self._reach(ENGINE, 1.0)
                return client
            if self._engine.state == "failed" or time.monotonic() > end:
                raise EngineError("environment", self._engine.error or "The engine could not be started in time.")
            if self._engine.state == "stopped":
                raise EngineError("environment", self._engine.error or "The engine was stopped.")
            yield False

    def _patiently(self, ask: Callable[[], _T]) -> Steps[_T]:
        """The answer to a short request: one that takes too long is no failure yet."""
        end = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return ask()
            except EngineError as error:
                if error.code != "slow":
                    raise
            if time.monotonic() > end:
                raise _silent()
            yield False

    def _fetch(
        self, client: Client, id: str, name: str, query: dict[str, str], target: Path, part: Part
    ) -> Steps[None]:
        """A file of the capture, made by the engine if need be, into `target`."""
        self._transfer = transfer = client.download(id, name, query)
        end = time.monotonic() + FILE_SECONDS
        look = time.monotonic() + ALIVE_SECONDS
        while not transfer.step(self._seconds):
            self._reach(part, transfer.fraction * 0.9)
            if time.monotonic() > look:
                yield from self._patiently(client.health)
                look = time.monotonic() + ALIVE_SECONDS
            if time.monotonic() > end:
                raise EngineError("deadline", "The engine took too long to make the mesh: choose a lower quality.")
            yield False
        data = memoryview(transfer.body)
        with target.open("wb") as file:
            for start in range(0, len(data), BLOCK):
                file.write(data[start : start + BLOCK])
                yield True
        self._transfer = None
        self._reach(part, 1.0)


class ImportJob(_Job):
    """A photo becomes `result`, its files in `folder`."""

    def __init__(self, engine: Engine, settings: ImportSettings, folder: Path) -> None:
        super().__init__(engine)
        self.result: ImportResult | None = None
        self._settings = settings
        self._folder = folder
        self._photo = b""
        self._client: Client | None = None
        self._id = ""

    def _steps(self) -> Steps[None]:
        self._photo = yield from self._read_photo()
        yield from self._restarting(self._import)

    def _import(self, client: Client) -> Steps[None]:
        self._client = client
        if self._id:
            yield from self._find_again(client)
        if not self._id:
            self._id = yield from self._send(client)
        facts = yield from self._follow(client)
        self.stage = "Making the mesh"
        npz, crop = self._folder / "head.npz", self._folder / "crop.png"
        yield from self._fetch(client, self._id, "mesh.npz", _mesh_query(self._settings), npz, MESH)
        yield from self._fetch(client, self._id, "crop.png", {}, crop, CROP)
        self.result = ImportResult(
            name=self._settings.photo.stem,
            capture_id=self._id,
            npz=npz,
            crop=crop,
            camera=facts.camera,
            iso_level=facts.iso_level,
            provenance=facts.provenance,
        )

    def _read_photo(self) -> Steps[bytes]:
        path, data = self._settings.photo, bytearray()
        try:
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    data += block
                    if len(data) > PHOTO_LIMIT:
                        raise EngineError("too_large", "The photo is larger than 64 MB: use a smaller copy of it.")
                    yield True
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise EngineError("file", f"The photo {path} can't be read ({reason}): choose it again.") from error
        return bytes(data)

    def _find_again(self, client: Client) -> Steps[None]:
        """A new engine goes on with the queue of the one that died, unless another one does."""
        try:
            yield from self._patiently(lambda: client.status(self._id))
        except EngineError as error:
            if error.code != "not_found":
                raise
            self._id = ""

    def _send(self, client: Client) -> Steps[str]:
        self.stage = "Sending the photo"
        self._transfer = transfer = client.upload(self._photo, self._settings.query)
        moved, end = transfer.moved, time.monotonic() + ANSWER_SECONDS
        while not transfer.step(self._seconds):
            self._reach(UPLOAD, transfer.fraction)
            if transfer.moved != moved:
                moved, end = transfer.moved, time.monotonic() + ANSWER_SECONDS
            if time.monotonic() > end:
                raise _silent()
            yield False
        self._transfer = None
        return client.accepted(transfer)

    def _follow(self, client: Client) -> Steps[CaptureFacts]:
        """Poll until the capture is over."""
        last, since = ("", "", 0.0), time.monotonic()
        while True:
            status = yield from self._patiently(lambda: client.status(self._id))
            self.warnings = [warning.message for warning in status.warnings]
            if status.state in FINAL:
                return self._facts(status)
            self.stage = (
                "Waiting for the engine" if status.state == "queued" else status.stage[:1].upper() + status.stage[1:]
            )
            self._reach(CAPTURE, status.fraction)
            now = (status.state, status.stage, status.fraction)
            if now != last:
                last, since = now, time.monotonic()
            elif time.monotonic() - since > STUCK_SECONDS[status.state]:
                raise EngineError("deadline", "The engine makes no progress: press Stop Engine and try again.")
            yield from _pause(POLL_SECONDS)

    def _facts(self, status: CaptureStatus) -> CaptureFacts:
        if status.state == "cancelled":
            raise EngineError("cancelled", "The capture was cancelled in the engine: try again.")
        if status.facts is None:
            raise EngineError(status.error.code, status.error.message) if status.error else _silent()
        self._reach(CAPTURE, 1.0)
        return status.facts

    def _cancellation(self) -> Steps[None]:
        end = time.monotonic() + ANSWER_SECONDS
        transfer, client = self._transfer, self._client
        try:
            # The engine may have the whole photo while its answer is on the way: that job must not go on.
            while transfer is not None and not self._id and transfer.sent and client is not None:
                if transfer.step(0.02):
                    self._id = client.accepted(transfer)
                elif time.monotonic() > end:
                    break
                else:
                    yield False
            self._break_off()
            if self._id and client is not None:
                yield from self._patiently(lambda: client.cancel(self._id))
        except EngineError:
            pass  # an engine that is gone, or has forgotten the job, does not go on with it
        yield from super()._cancellation()


class MeshJob(_Job):
    """A capture the engine knows becomes another mesh, `npz`: the photo is not needed again."""

    def __init__(self, engine: Engine, capture_id: str, resolution: int, colors: str, folder: Path) -> None:
        super().__init__(engine)
        self.npz = folder / "head.npz"
        self._id = capture_id
        self._query = {"resolution": str(resolution), **({"colors": colors} if colors else {})}

    def _steps(self) -> Steps[None]:
        yield from self._restarting(self._make)

    def _make(self, client: Client) -> Steps[None]:
        self.stage = "Making the mesh"
        try:
            yield from self._fetch(client, self._id, "mesh.npz", self._query, self.npz, (0.1, 0.9))
        except EngineError as error:
            if error.code not in ("not_found", "gone"):
                raise
            raise EngineError(error.code, "The engine has forgotten this capture: import the photo again.") from error


def _mesh_query(settings: ImportSettings) -> dict[str, str]:
    query = {"resolution": str(settings.resolution)}
    return {**query, "colors": settings.colors} if settings.colors else query


def _capitalized(words: str) -> str:
    return words[:1].upper() + words[1:]


def _pause(seconds: float) -> Steps[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield False


def _silent() -> EngineError:
    return EngineError("silent", "The engine does not answer: press Stop Engine in the preferences and try again.")
