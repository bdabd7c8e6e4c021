"""The front's side of the worker process: starts it, gives it work, and starts it again when it dies."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from server.messages import Began, Cancel, Failed, Finished, Hello, Logged, Order, Reached, Work
from server.protocol import ServiceError, WorkerState
from server.worker import run_worker
from tpn_engine.errors import CancelledError

START_SECONDS = 600.0  # torch from a cold, slow disk on a machine at full load
GRACE_SECONDS = 10.0  # between asking the worker to stop its work and killing it
ATTEMPTS = 3  # at giving an order to a worker that dies before it begins
FAILED_STARTS = 3  # in a row, before whoever waits for the worker is told
LONGEST_DELAY = 30.0  # seconds between starts that fail

_log = logging.getLogger("tpn.server")


@dataclass
class _Assignment:
    number: int
    facts: asyncio.Future[dict[str, Any]]
    report: Callable[[str, float], None] | None
    began: bool = False


class _NeverBegunError(Exception):
    """The worker died with an order it had not looked at."""


class Supervisor:
    """One worker process, as the event loop sees it.

    Whoever has work takes a `turn()` first; turns are given in the order they were asked for.
    """

    def __init__(self, device: str, output: Path | None) -> None:
        self.hello: Hello | None = None
        self.memory_free: int | None = None
        self.restarts = -1
        self._device = device
        self._output = output
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._starting: asyncio.Task[None] | None = None
        self._assignment: _Assignment | None = None
        self._number = 0
        self._failures = 0
        self._stopping = False
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._ready = False  # takes work
        self._greeted = False  # this process got as far as saying hello

    @property
    def state(self) -> WorkerState:
        if not self._ready:
            return "failing" if self._failures >= FAILED_STARTS else "starting"
        return "busy" if self._assignment is not None else "idle"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def turn(self) -> asyncio.Lock:
        """Held while one piece of work is looked up and done."""
        return self._turn

    def start(self) -> None:
        """Begin to start the worker; it is ready some seconds later."""
        self._starting = asyncio.create_task(self._spawn(0.0))

    async def stop(self) -> None:
        """End the worker for good, whatever it is doing."""
        self._stopping = True
        if self._starting is not None:
            self._starting.cancel()  # a process it has just started ends when it finds its pipe closed
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.join, 5.0)

    def restart(self) -> None:
        """Replace the worker by a new one: all its memory is given back, the device's own included."""
        if self._process is not None:
            self._ready = False  # at once: nobody may give it work while its end is on its way to us
            self._process.kill()

    async def perform(
        self, work: Work, *, deadline: float, report: Callable[[str, float], None] | None = None
    ) -> dict[str, Any]:
        """Have the worker do `work`; the caller holds the turn. The result is the work's facts.

        To cancel the awaiting task is to cancel the work. Raises ServiceError: the worker's failure under
        its own code, "worker" if the process died, "deadline" after so many seconds.
        """
        for _ in range(ATTEMPTS):
            await self._until_ready()
            with suppress(_NeverBegunError):
                return await self._perform_once(work, deadline, report)
        raise ServiceError("worker", "The engine's worker process dies again and again: the log says why.")

    async def _perform_once(
        self, work: Work, deadline: float, report: Callable[[str, float], None] | None
    ) -> dict[str, Any]:
        self._number += 1
        assignment = _Assignment(self._number, asyncio.get_running_loop().create_future(), report)
        self._assignment = assignment
        self._send(Order(assignment.number, work))
        try:
            return await asyncio.wait_for(asyncio.shield(assignment.facts), deadline)
        except (TimeoutError, asyncio.TimeoutError):
            await self._interrupt(assignment)
            raise ServiceError("deadline", f"This took longer than {deadline:.0f} seconds: ask for less.") from None
        except asyncio.CancelledError:
            await self._interrupt(assignment)
            raise
        finally:
            if self._assignment is assignment:
                self._assignment = None

    async def _interrupt(self, assignment: _Assignment) -> None:
        """The work stops at its next check; a worker that never comes to one is replaced."""
        self._send(Cancel(assignment.number))
        await asyncio.wait({assignment.facts}, timeout=GRACE_SECONDS)
        if not assignment.facts.done():
            _log.warning("The worker did not stop within %.0f seconds and is replaced", GRACE_SECONDS)
            self.restart()
            await asyncio.wait({assignment.facts}, timeout=GRACE_SECONDS)
        if assignment.facts.done():
            assignment.facts.exception()  # looked at: asyncio complains about failures nobody saw

    async def _until_ready(self) -> None:
        while not self._ready:
            if self._failures >= FAILED_STARTS:
                raise ServiceError("worker", "The engine can't be started: `tpn doctor` and the log say why.")
            await self._changed.wait()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # a worker that is gone is dealt with by whoever listens to it
            if self._connection is not None:
                self._connection.send(message)

    async def _spawn(self, delay: float) -> None:
        await asyncio.sleep(delay)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=run_worker, args=(theirs, self._device, self._output), name="tpn-worker", daemon=True
        )
        await asyncio.to_thread(process.start)
        theirs.close()
        self._process, self._connection, self._greeted = process, ours, False
        self.restarts += 1
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop, process, ours), name="worker-ear", daemon=True).start()
        loop.call_later(START_SECONDS, self._check_started, process)

    def _check_started(self, process: SpawnProcess) -> None:
        if process is self._process and not self._greeted:
            _log.error("The worker was not ready within %.0f seconds", START_SECONDS)
            process.kill()

    def _listen(self, loop: asyncio.AbstractEventLoop, process: SpawnProcess, connection: Connection) -> None:
        """In a thread: pass on what the worker says, and its end."""
        with suppress(RuntimeError):  # the loop is closed: the service has ended
            with suppress(EOFError, OSError):
                while True:
                    loop.call_soon_threadsafe(self._heard, process, connection.recv())
            process.join(1.0)
            process.kill()  # one that closed its pipe but lives on
            process.join()
            connection.close()
            loop.call_soon_threadsafe(self._ended, process)

    def _heard(self, process: SpawnProcess, message: Any) -> None:
        if process is not self._process:
            return
        if isinstance(message, Logged):
            logging.getLogger("tpn.worker").log(message.level, message.text)
        elif isinstance(message, Hello):
            self.hello, self.memory_free = message, message.memory_free
            self._ready, self._greeted, self._failures = True, True, 0
            _log.info("The worker %s is ready on %s", process.pid, message.device)
            self._announce()
        elif self._assignment is not None and message.number == self._assignment.number:
            self._report(self._assignment, message)

    def _report(self, assignment: _Assignment, message: Began | Reached | Finished | Failed) -> None:
        if isinstance(message, Began):
            assignment.began = True
            return
        if isinstance(message, Reached):
            if assignment.report is not None:
                assignment.report(message.stage, message.fraction)
            return
        self.memory_free = message.memory_free
        self._assignment = None
        if assignment.facts.done():
            return
        if isinstance(message, Finished):
            assignment.facts.set_result(message.facts)
        elif message.code == CancelledError.code:
            assignment.facts.set_exception(CancelledError(message.message))
        else:
            assignment.facts.set_exception(ServiceError(message.code, message.message))

    def _ended(self, process: SpawnProcess) -> None:
        if process is not self._process:
            return
        reason = f"The engine's worker process {_how_it_ended(process.exitcode)}: it was started again."
        self._ready, self._connection = False, None
        if not self._greeted:
            self._failures += 1
        assignment, self._assignment = self._assignment, None
        if assignment is not None and not assignment.facts.done():
            error = ServiceError("worker", reason) if assignment.began else _NeverBegunError()
            assignment.facts.set_exception(error)
        if not self._stopping:
            _log.warning("The worker %s %s", process.pid, _how_it_ended(process.exitcode))
            delay = min(2.0**self._failures - 1, LONGEST_DELAY)
            self._starting = asyncio.create_task(self._spawn(delay))
        self._announce()


def _how_it_ended(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended by itself (exit code {code})"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            return "was killed (SIGKILL; perhaps the machine ran out of memory)"
        return f"crashed ({name})"
    return f"crashed (signal {-code})"
