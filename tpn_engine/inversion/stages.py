"""The stages of an inversion: told to whoever watches, and timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tpn_engine.progress import Progress


class Stages:
    """`with stages("pivot"):` reports its beginning and end, and keeps its `seconds`."""

    def __init__(self, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._progress(name, 0.0)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        self._progress(name, 1.0)
