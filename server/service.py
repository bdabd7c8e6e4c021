"""One running service: its parts, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from server.cache import CaptureCache
from server.guard import Activity
from server.jobs import FINAL, PREVIEW, Jobs, JobStore
from server.messages import Work
from server.models import Models
from server.protocol import CONTRACT, Health, ServiceError, WorkerHealth
from server.slot import Slot
from server.supervisor import Supervisor
from tpn_engine.errors import CaptureFileError
from tpn_engine.version import __version__

STOP_SECONDS = 8.0  # after which the process ends whatever still goes on

_T = TypeVar("_T")
_log = logging.getLogger("tpn.server")


@dataclass(frozen=True)
class Settings:
    """What a service is started with; `cache_size` in bytes, no `idle_minutes` or `parent_pid` for none."""

    cache_folder: Path
    cache_size: int
    log_folder: Path
    model: str
    device: str
    port: int = 0
    parent_pid: int | None = None
    idle_minutes: float | None = None


class Service:
    """Everything the routes need. Made before the event loop runs; lives from `start` to `finish`."""

    def __init__(self, settings: Settings, slot: Slot, worker_output: Path | None) -> None:
        self.activity = Activity()
        self.models = Models(settings.model)
        self.cache = CaptureCache(settings.cache_folder / "captures", settings.cache_size)
        self.stopping = threading.Event()
        self._settings = settings
        self._slot = slot
        self._worker_output = worker_output
        self._when_stopping: Callable[[], None] = lambda: None

    async def start(self, when_stopping: Callable[[], None]) -> None:
        """Bring up the worker and the queue; `when_stopping` is called once, when the end begins."""
        self._loop = asyncio.get_running_loop()
        self._when_stopping = when_stopping
        self._ending = asyncio.Event()
        self.worker = Supervisor(self._settings.device, self._worker_output)
        self.jobs = Jobs(JobStore(self._slot.folder / "jobs"), self.cache, self.models, self.worker)
        with suppress(OSError):  # where nothing can be written, each upload says so
            self.cache.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.cache.sweep()
        self.worker.start()
        self.jobs.start()
        self._idle_watch = asyncio.create_task(self._watch_idleness())

    async def finish(self) -> None:
        """Leave no process and no open request behind."""
        self.stop("the service ends")
        self._idle_watch.cancel()
        await self.jobs.stop()
        await self.worker.stop()
        self._slot.leave()
        _log.info("Stopped")

    def stop(self, reason: str) -> None:
        """Begin to end; from any thread, any number of times."""
        if self.stopping.is_set():
            return
        self.stopping.set()
        _log.info("Stopping: %s", reason)
        last_resort = threading.Timer(STOP_SECONDS, os._exit, (1,))
        last_resort.daemon = True
        last_resort.start()
        self._loop.call_soon_threadsafe(self._begin_to_end)

    def _begin_to_end(self) -> None:
        self._ending.set()
        self._when_stopping()

    def health(self) -> Health:
        hello = self.worker.hello
        problem = self._slot.problem or (None if hello is None else hello.problem)
        if problem is None and self.worker.state == "failing":
            problem = "The engine can't be started: `tpn doctor` and the log say why."
        return Health(
            contract=CONTRACT,
            version=__version__,
            pid=os.getpid(),
            device=None if hello is None else hello.device,
            memory_free=self.worker.memory_free,
            model=self.models.default,
            worker=WorkerHealth(state=self.worker.state, pid=self.worker.pid, restarts=max(0, self.worker.restarts)),
            queued=self.jobs.queued,
            running=self.jobs.running,
            problem=problem,
        )

    def capture_key(self, id: str) -> str:
        """The key of a finished job's capture; raises ServiceError for any other job."""
        job = self.jobs.find(id)
        if job.state not in FINAL:
            raise ServiceError("not_done", "The capture is not finished yet: wait until its state is done.")
        if job.error is not None:
            raise ServiceError(job.error["code"], job.error["message"])
        return job.key or ""

    async def preview(self, id: str) -> BinaryIO:
        """The picture of a head that is being made, opened; raises ServiceError where there is none."""
        job = self.jobs.find(id)
        file = await asyncio.to_thread(self.cache.open, job.key, PREVIEW) if job.preview and job.key else None
        if file is None:
            raise ServiceError("not_found", "There is no preview: there is one only while an optimisation runs.")
        return file

    async def made(self, key: str, what: str, work: Callable[[Path, Path], Work], deadline: float) -> BinaryIO:
        """Something made from a capture, opened; made now unless it was before.

        `work` is given the capture's path and the target. Raises ServiceError.
        """
        file = await asyncio.to_thread(self.cache.open, key, what)
        if file is not None:
            return file
        async with self.worker.turn():
            file = await asyncio.to_thread(self.cache.open, key, what)
            if file is None:
                await self._make(key, what, work, deadline)
                file = await asyncio.to_thread(self.cache.open, key, what)
        if file is None:
            raise ServiceError("gone", "What was made is gone again: the cache is too small for it.")
        await asyncio.to_thread(self.cache.evict, self.cache.made(key, what))
        return file

    async def _make(self, key: str, what: str, work: Callable[[Path, Path], Work], deadline: float) -> None:
        capture = self.cache.capture(key)
        if not await asyncio.to_thread(capture.exists):
            raise ServiceError("gone", "The capture was removed from the full cache: send the photo again.")
        try:
            await self.worker.perform(work(capture, self.cache.made(key, what)), deadline=deadline)
        except ServiceError as error:
            if error.code == CaptureFileError.code:
                await asyncio.to_thread(self.cache.drop, key)
                raise ServiceError("gone", "The capture's file was damaged: send the photo again.") from error
            raise

    async def unless_gone(self, work: Awaitable[_T], gone: Awaitable[Any]) -> _T:
        """The result of `work`, cancelled if the client is `gone` or the service ends before."""
        doing = asyncio.ensure_future(work)
        others = {asyncio.ensure_future(gone), asyncio.ensure_future(self._ending.wait())}
        try:
            await asyncio.wait({doing, *others}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise ServiceError("stopping", "The service is ending.")
            return doing.result()
        finally:
            for task in (doing, *others):
                task.cancel()

    async def _watch_idleness(self) -> None:
        if not self._settings.idle_minutes:
            return
        allowed = self._settings.idle_minutes * 60
        while True:
            idle = time.monotonic() - self.activity.last
            busy = self.activity.open_requests or self.jobs.queued or self.jobs.running
            if busy:
                self.activity.last = time.monotonic()
            elif idle >= allowed:
                self.stop(f"nobody asked for anything in {self._settings.idle_minutes:g} minutes")
                return
            await asyncio.sleep(min(max(allowed - idle, 0.05), 5.0))
