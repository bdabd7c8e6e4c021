"""Rendered heads on disk: one file a head, written whole, in as many processes as asked for."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np

from tpn_engine.errors import DeviceError, FileError, HeadCaptureError
from tpn_engine.files import replacing
from tpn_engine.progress import SILENT, Progress
from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.heads.build import Head, HeadBuilder
from tpn_engine.training.heads.cameras import training_cameras
from tpn_engine.training.heads.renderer import Renderer

POLL_SECONDS = 2.0
# Processes, not threads, share the cores; left alone, each would start a thread a core of its own.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class RenderJob:
    """What to render: heads `first` to `first + count - 1`, each from `views` cameras, `size` pixels wide."""

    assets: Path
    out: Path
    first: int
    count: int
    views: int = 8
    size: int = 256

    def file(self, seed: int) -> Path:
        """Where the head of a seed goes."""
        return self.out / f"head_{seed:06d}.npz"

    def missing(self) -> list[int]:
        """The seeds that have no file yet."""
        return [seed for seed in range(self.first, self.first + self.count) if not self.file(seed).exists()]


def render_views(head: Head, seed: int, renderer: Renderer, views: int) -> dict[str, np.ndarray]:
    """What a head's file holds.

    `rgb` uint8 [V,S,S,3] sRGB, not premultiplied; `alpha` uint8 [V,S,S]; `depth` float16 [V,S,S]
    along the camera's z in EG3D units, 0 where empty; `label` float32 [V,25] camera labels; `light`
    float32 [9,3] spherical harmonics of the radiance (light.py). Who it is, so that errors can be
    told apart by group: `melanin` float32 [], 0 (lightest) to 1; `female` bool []; `age`, a string
    [], one of AGES (identity.py).
    """
    person = head.parameters.identity
    cameras = training_cameras(seed, views)
    renderer.load(head.meshes)
    pictures = [renderer.render(camera, head.light) for camera in cameras]
    return {
        "rgb": np.stack([picture.rgb for picture in pictures]),
        "alpha": np.stack([picture.alpha for picture in pictures]),
        "depth": np.stack([picture.depth for picture in pictures]).astype(np.float16),
        "label": np.stack([camera.label for camera in cameras]),
        "light": head.light.harmonics.astype(np.float32),
        "melanin": np.array(head.parameters.skin.melanin, np.float32),
        "female": np.array(person.female),
        "age": np.array(person.age),
    }


def render_heads(job: RenderJob, seeds: list[int]) -> None:
    """Render these heads one after another in this process."""
    builder = HeadBuilder(HeadAssets.load(job.assets))
    with closing(Renderer(job.size)) as renderer:
        for seed in seeds:
            arrays = render_views(builder.head(seed), seed, renderer, job.views)
            with replacing(job.file(seed)) as path:
                np.savez(path, **arrays)


def render_dataset(job: RenderJob, processes: int, progress: Progress = SILENT) -> int:
    """Render the heads that are still missing and return how many that were.

    Heads that have a file are left alone, so an interrupted job goes on where it was. Raises
    FileError for missing assets or a full disk, DeviceError where nothing can be rendered.
    """
    try:
        job.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(f"The folder {job.out} can't be made ({error.strerror}): choose another one.") from error
    seeds = job.missing()
    context = multiprocessing.get_context("spawn")
    failures = context.SimpleQueue()
    shares = [seeds[first::processes] for first in range(min(processes, len(seeds)))]
    workers = [context.Process(target=_work, args=(job, share, failures), daemon=True) for share in shares]
    try:
        with environment(ONE_THREAD):
            for worker in workers:
                worker.start()
        while running := [worker.sentinel for worker in workers if worker.is_alive()]:
            wait(running, timeout=POLL_SECONDS)
            if any(worker.exitcode for worker in workers):
                break
            progress("render", 1 - len(job.missing()) / job.count)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    if not failures.empty():
        raise failures.get()
    if any(worker.exitcode for worker in workers):
        raise DeviceError("A rendering process died, maybe out of memory: run the command again with fewer processes.")
    return len(seeds)


@contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(job: RenderJob, seeds: list[int], failures: SimpleQueue[HeadCaptureError]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    try:
        render_heads(job, seeds)
    except HeadCaptureError as error:
        failures.put(error)
        raise SystemExit(1) from error
