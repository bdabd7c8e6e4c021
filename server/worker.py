"""The worker process: takes orders from its pipe, one after the other, and listens while it works."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from server.messages import Began, Cancel, Failed, Finished, Hello, Logged, Order, Reached
from tpn_engine.errors import HeadCaptureError
from tpn_engine.progress import Progress

if TYPE_CHECKING:
    from server.making import Maker

OUTPUT_LIMIT = 2**20  # bytes of the file that holds what libraries print
NICENESS = 5  # a higher one can starve the worker for minutes on a machine at full load
REPORT_SECONDS = 0.05  # between reports of the same stage

_log = logging.getLogger("tpn.worker")


def run_worker(connection: Connection, device: str, output: Path | None) -> None:
    """The worker's life. `output` is the file for whatever is printed, by crashing libraries above all."""
    _redirect_output(output)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the front's to answer
    _lower_priority()
    Worker(connection, device).run()


class Worker:
    """Does the orders of one pipe; ends at once when the other end of the pipe is gone."""

    def __init__(self, connection: Connection, device: str) -> None:
        self._connection = connection
        self._device = device
        self._orders: SimpleQueue[Order] = SimpleQueue()
        self._cancelled: set[int] = set()
        self._sending = threading.Lock()

    def run(self) -> None:
        threading.Thread(target=self._listen, name="listener", daemon=True).start()
        logging.basicConfig(level=logging.INFO, handlers=[_PipeHandler(self)], format="%(name)s: %(message)s")
        from server.making import Maker  # torch takes seconds, and the listener must be there before

        maker = Maker(self._device)
        self.send(Hello(maker.device_name, maker.problem, maker.memory_free()))
        while True:
            self._fulfil(maker, self._orders.get())

    def send(self, message: Any) -> None:
        with self._sending:
            self._connection.send(message)

    def _listen(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                message = self._connection.recv()
                if isinstance(message, Cancel):
                    self._cancelled.add(message.number)
                else:
                    self._orders.put(message)
        os._exit(0)  # the front is gone: nobody waits for whatever is being computed

    def _fulfil(self, maker: Maker, order: Order) -> None:
        number = order.number
        progress = Progress(_Reporter(self, number), lambda: number in self._cancelled)
        self.send(Began(number))
        try:
            facts = maker.make(order.work, progress)
        except HeadCaptureError as error:
            self.send(Failed(number, error.code, str(error), maker.memory_free()))
        except Exception as error:
            _log.exception("Order %d failed", number)
            text = " ".join(f"Unexpected {type(error).__name__}: {error}".split())
            self.send(Failed(number, "internal", f"{text} The log has more; please report it.", maker.memory_free()))
        else:
            self.send(Finished(number, facts, maker.memory_free()))
        self._cancelled.discard(number)


class _Reporter:
    """Passes progress on, but no faster than anyone can see."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        self._stage = ""
        self._next = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if stage == self._stage and now < self._next:
            return
        self._stage, self._next = stage, now + REPORT_SECONDS
        self._worker.send(Reached(self._number, stage, fraction))


class _PipeHandler(logging.Handler):
    """The front keeps the one log file: two processes can't rotate it."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            self._worker.send(Logged(record.levelno, self.format(record)))


def _redirect_output(output: Path | None) -> None:
    """The front's standard output holds one line of JSON; nothing printed here may follow it."""
    path = Path(os.devnull)
    if output is not None:
        with suppress(OSError):
            if not output.exists() or output.stat().st_size < OUTPUT_LIMIT:
                output.touch(mode=0o600)
                path = output
            else:
                output.write_bytes(b"")
                path = output
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    if sys.stderr is not None:
        faulthandler.enable()


def _lower_priority() -> None:
    """The front answers in milliseconds only if it gets a core when it wants one."""
    if sys.platform == "win32":
        import ctypes

        below_normal = 0x4000
        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.SetPriorityClass(ctypes.c_void_p(kernel.GetCurrentProcess()), below_normal)
    else:
        with suppress(OSError):
            os.nice(NICENESS)
