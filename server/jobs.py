"""The jobs: photos on their way to captures, in the order they came, kept on disk."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.cache import CaptureCache, capture_key
from server.messages import MakeCapture
from server.models import Models
from server.protocol import CaptureOptions, CaptureStatus, Notice, Problem, Result, ServiceError, State
from server.supervisor import Supervisor
from tpn_engine.errors import HeadCaptureError
from tpn_engine.files import replacing
from tpn_engine.inversion.options import Method

CAPTURE_SECONDS = 900.0  # an official model on a slow CPU takes about a minute
QUEUE_LIMIT = 1000
REMEMBERED = 1000  # finished jobs
PREVIEW = "preview.png"  # the name of what is shown of a head that is being made

FINAL: frozenset[State] = frozenset({"done", "failed", "cancelled"})

_MOMENTARY = ("changed", "stage", "fraction", "preview")  # what a record on disk does without

_log = logging.getLogger("tpn.server")


@dataclass
class Job:
    """One photo's way; what is not about this moment is kept on disk. `facts` and `error` are set at the end."""

    id: str
    name: str
    model: str
    method: Method
    face: int | None
    level: bool
    sha256: str
    created: float
    seconds: float | None = None
    state: State = "queued"
    stage: str = "waiting"
    fraction: float = 0.0
    preview: bool = False
    key: str | None = None
    facts: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)

    def status(self) -> CaptureStatus:
        """What the contract says about it."""
        facts = self.facts
        return CaptureStatus(
            id=self.id,
            state=self.state,
            stage=self.stage,
            fraction=self.fraction,
            name=self.name,
            model=self.model,
            method=self.method,
            created=self.created,
            warnings=[] if facts is None else [Notice(**warning) for warning in facts["provenance"]["warnings"]],
            preview=f"/v1/captures/{self.id}/{PREVIEW}" if self.preview else None,
            error=None if self.error is None else Problem(**self.error),
            result=None if facts is None else Result(**facts),
        )


class JobStore:
    """A folder with `<id>.json` for each job and `<id>.photo` for each that waits."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def photo(self, id: str) -> Path:
        return self.folder / f"{id}.photo"

    def write(self, job: Job) -> None:
        """Raises FileError."""
        record = {name: value for name, value in vars(job).items() if name not in _MOMENTARY}
        with replacing(self._path(job.id)) as unfinished:
            unfinished.write_text(json.dumps(record), encoding="utf-8")

    def remove(self, id: str) -> None:
        for path in (self._path(id), self.photo(id)):
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def remove_photo(self, id: str) -> None:
        with suppress(OSError):
            self.photo(id).unlink(missing_ok=True)

    def load(self) -> list[Job]:
        """Every job that can be read, oldest first; what belongs to none is removed."""
        jobs: dict[str, Job] = {}
        for path in self.folder.glob("[0-9a-f]*.json"):
            try:
                job = Job(**json.loads(path.read_text(encoding="utf-8")))
                job.status()
                jobs[job.id] = job
            except (OSError, ValueError, TypeError, KeyError) as error:
                _log.warning("The job in %s can't be read and is forgotten: %s", path, error)
                self.remove(path.stem)
        for path in self.folder.glob("*.photo"):
            if path.stem not in jobs:
                self.remove(path.stem)
        return sorted(jobs.values(), key=lambda job: job.created)

    def _path(self, id: str) -> Path:
        return self.folder / f"{id}.json"


class Jobs:
    """All jobs of a service, and the one task that works them off."""

    def __init__(self, store: JobStore, cache: CaptureCache, models: Models, worker: Supervisor) -> None:
        self._store = store
        self._cache = cache
        self._models = models
        self._worker = worker
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._arrived = asyncio.Event()
        self._running: tuple[Job, asyncio.Task[None]] | None = None
        self._loop_task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def queued(self) -> int:
        return sum(job.state == "queued" for job in self._jobs.values())

    @property
    def running(self) -> int:
        return sum(job.state == "running" for job in self._jobs.values())

    def start(self) -> None:
        """Take up what an earlier service left, and begin to work."""
        for job in self._store.load():
            self._jobs[job.id] = job
            if job.state not in FINAL:
                job.state = "queued"
                self._queue.append(job)
        self._arrived.set()
        self._loop_task = asyncio.create_task(self._work_off())

    async def stop(self) -> None:
        """Stop working; what is unfinished stays in the queue for the next service."""
        self._stopping = True
        tasks = [task for task in (self._loop_task, self._running and self._running[1]) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def new_photo(self) -> tuple[str, Path]:
        """A new job's id and where its photo is to be written; raises ServiceError if there are too many."""
        if self.queued >= QUEUE_LIMIT:
            raise ServiceError("queue_full", f"{QUEUE_LIMIT} photos are waiting: send this one later.")
        id = secrets.token_hex(16)
        return id, self._store.photo(id)

    def discard_photo(self, id: str) -> None:
        """A photo that will not become a job."""
        self._store.remove_photo(id)

    def submit(self, id: str, sha256: str, options: CaptureOptions) -> Job:
        """Make a job of a photo that was written; done at once if its capture is here.

        Raises FileError, ModelError, ServiceError.
        """
        model = self._models.find(options.model)
        job = Job(
            id=id,
            name=options.name,
            model=model.name,
            method=options.method,
            seconds=options.seconds,
            face=options.face,
            level=options.level,
            sha256=sha256,
            created=time.time(),
        )
        job.key = capture_key(sha256, model.sha256, job.method, job.seconds, job.face, job.level)
        facts = self._cache.find(job.key)
        self._store.write(job)
        self._jobs[id] = job
        if facts is not None:
            self._finish(job, facts)
        else:
            self._queue.append(job)
            self._arrived.set()
        self._forget_oldest()
        return job

    def find(self, id: str) -> Job:
        """Raises ServiceError "not_found"."""
        job = self._jobs.get(id)
        if job is None:
            raise ServiceError("not_found", "There is no such capture: it was forgotten, or never was.")
        return job

    def cancel_or_forget(self, job: Job) -> None:
        """Cancel a job that waits or runs, forget one that is over. The capture stays in the cache."""
        if job.state in FINAL:
            self._forget(job)
        elif self._running is not None and self._running[0] is job:
            self._running[1].cancel()
        else:
            self._end(job, "cancelled", error={"code": "cancelled", "message": "Cancelled."})

    async def watch(self, job: Job, pause: float) -> AsyncIterator[CaptureStatus | None]:
        """The status now and after every change until the job is over; None after `pause` seconds of silence."""
        while True:
            changed = job.changed
            yield job.status()
            if job.state in FINAL or self._jobs.get(job.id) is not job:
                return
            while not changed.is_set():
                with suppress(TimeoutError, asyncio.TimeoutError):
                    await asyncio.wait_for(changed.wait(), pause)
                    break
                yield None

    async def _work_off(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue:
                job = self._queue.popleft()
                if job.state != "queued":
                    continue
                task = asyncio.create_task(self._capture(job))
                self._running = (job, task)
                await asyncio.wait({task})
                self._running = None

    async def _capture(self, job: Job) -> None:
        try:
            async with self._worker.turn():
                facts = await self._make(job)
            self._finish(job, facts)
            await asyncio.to_thread(self._cache.evict, self._cache.capture(job.key or ""))
        except asyncio.CancelledError:
            if not self._stopping:
                self._end(job, "cancelled", error={"code": "cancelled", "message": "Cancelled."})
        except HeadCaptureError as error:
            state: State = "cancelled" if error.code == "cancelled" else "failed"
            self._end(job, state, error={"code": error.code, "message": str(error)})
        except Exception as error:
            _log.exception("The job %s failed", job.id)
            message = f"Unexpected {type(error).__name__}: the log has more; please report it."
            self._end(job, "failed", error={"code": "internal", "message": message})

    async def _make(self, job: Job) -> dict[str, Any]:
        model = self._models.find(job.model)  # again: the file may be another by now
        job.key = capture_key(job.sha256, model.sha256, job.method, job.seconds, job.face, job.level)
        self._change(job, state="running", stage="starting")
        facts = self._cache.find(job.key)
        if facts is not None:
            return facts
        work = MakeCapture(
            model=model.source,
            model_sha256=model.sha256,
            photo=self._store.photo(job.id),
            method=job.method,
            seconds=job.seconds,
            face=job.face,
            level=job.level,
            target=self._cache.capture(job.key),
            facts=self._cache.facts(job.key),
            preview=self._cache.made(job.key, PREVIEW),
        )

        def report(stage: str, fraction: float) -> None:
            shown = work.preview.is_file()
            self._change(job, stage=stage, fraction=max(job.fraction, fraction), preview=shown)

        try:
            return await self._worker.perform(work, deadline=CAPTURE_SECONDS, report=report)
        finally:  # here, since a worker can be killed
            with suppress(OSError):
                work.preview.unlink(missing_ok=True)

    def _finish(self, job: Job, facts: dict[str, Any]) -> None:
        self._end(job, "done", facts=facts, fraction=1.0)

    def _end(self, job: Job, state: State, **values: Any) -> None:
        self._change(job, state=state, stage=state, preview=False, **values)
        code = "" if job.error is None else f" ({job.error['code']}: {job.error['message']})"
        _log.info("The job %s is %s%s", job.id, state, code)
        self._store.remove_photo(job.id)
        try:
            self._store.write(job)
        except HeadCaptureError as error:
            _log.warning("The job %s is not kept: %s", job.id, error)

    def _change(self, job: Job, **values: Any) -> None:
        for name, value in values.items():
            setattr(job, name, value)
        self._wake(job)

    def _wake(self, job: Job) -> None:
        job.changed.set()
        job.changed = asyncio.Event()

    def _forget(self, job: Job) -> None:
        del self._jobs[job.id]
        self._store.remove(job.id)
        self._wake(job)

    def _forget_oldest(self) -> None:
        over = [job for job in self._jobs.values() if job.state in FINAL]
        for job in over[: max(0, len(over) - REMEMBERED)]:
            self._forget(job)
