# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lives as long as this Blender: its engine, and the work that goes on beside the artist's.

Nothing in here holds on to Blender's data: a file that is loaded, an undo or a closed window may
take that away at any moment.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import bpy

from . import paths
from .engine.client import EngineError
from .engine.environment import Environment
from .engine.process import Engine
from .scene import TurntableRender
from .stages import in_words
from .words import say, show

TICK = 0.1  # seconds between looks at work that goes on in a window


class RefusalError(Exception):
    """Why something can't be done, in a sentence for the artist."""


# What an operator tells the artist as it is; anything else is a mistake of ours.
TROUBLE = (RefusalError, EngineError, ValueError, OSError, RuntimeError)


class Work(Protocol):
    """An import or a new mesh on its way."""

    @property
    def state(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def fraction(self) -> float: ...
    @property
    def error(self) -> str: ...
    def step(self, seconds: float = ...) -> bool: ...
    def cancel(self) -> None: ...


class Chore(Protocol):
    """A child process whose lines are shown: setting the engine up, or examining it."""

    @property
    def state(self) -> str: ...
    @property
    def lines(self) -> list[str]: ...
    @property
    def error(self) -> str: ...
    def step(self) -> bool: ...
    def cancel(self) -> None: ...


class Running:
    """Work on its way, with what has to go when it is over."""

    def __init__(self, title: str, work: Work, folder: Path) -> None:
        self.title, self.work, self.folder = title, work, folder
        self.waiting = ""  # what the artist has to do before the result can be shown
        self.timer: Any = None
        self._cancelled = False

    @property
    def state(self) -> str:
        """Of the work; cancelled as soon as the artist said so, even if the work was done by then."""
        return "cancelled" if self._cancelled else self.work.state

    def cancel(self) -> None:
        """Stops the work, in the engine too."""
        self._cancelled = True
        self.work.cancel()

    @property
    def stage(self) -> str:
        """What it is at, in words."""
        return self.waiting or in_words(self.work.stage)

    @property
    def text(self) -> str:
        """One line for the status bar."""
        return f"{show(self.title)}: {show(self.stage)} ({self.work.fraction:.0%})   Esc: {show('Cancel')}"


class Session:
    """The one of this Blender; see `current`."""

    def __init__(self) -> None:
        self.running: Running | None = None
        self.setup: Any = None  # the last environment job, kept for its lines
        self.setup_title = ""
        self.doctor: Any = None
        self.rendering: TurntableRender | None = None
        self._engine: Engine | None = None
        self._engine_settings: tuple[Any, ...] = ()
        self._installed: str | None = None
        self._half_made = False
        self._looked = False

    # The engine

    @property
    def installed(self) -> str | None:
        """The version of the engine in its own environment; None where there is none."""
        self._look()
        return self._installed

    @property
    def half_made(self) -> bool:
        """Whether an environment is there that Repair can make whole."""
        self._look()
        return self._half_made

    def _look(self) -> None:
        if not self._looked:  # once, and again after each environment job: panels ask at every redraw
            environment = Environment(paths.environment_folder())
            self._installed, self._half_made = environment.installed, environment.half_made
            self._looked = True

    def engine_python(self, preferences: Any) -> Path | None:
        """The interpreter that has the engine; None before it is set up."""
        if preferences.engine_python:
            return paths.absolute(preferences.engine_python)
        return Environment(paths.environment_folder()).python if self.installed else None

    @property
    def engine(self) -> Engine | None:
        """The engine if it was needed already."""
        return self._engine

    def engine_for(self, preferences: Any, model: str) -> Engine:
        """The engine for these preferences, started when first stepped. Raises RefusalError."""
        python = self.engine_python(preferences)
        if python is None:
            raise RefusalError(say("The engine is not set up yet: press Set Up Engine in the Head Capture panel."))
        if not python.is_file():
            raise RefusalError(say("There is no Python at {path}: choose another one in the preferences.", path=python))
        source = preferences.model_source(model)
        settings = (python, preferences.cache_path, preferences.cache_size, preferences.device_name, source)
        if self._engine is None or settings != self._engine_settings:
            self.stop_engine()
            self._engine = Engine(
                python=python,
                cache_folder=preferences.cache_path,
                log_folder=paths.log_folder(),
                device=preferences.device_name,
                model=source,
                parent_pid=os.getpid(),
                cache_size=preferences.cache_size,
            )
            self._engine_settings = settings
        return self._engine

    def stop_engine(self, seconds: float = 0.0) -> None:
        """Ends the engine, if this Blender runs one; waits for its end for so long at most."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.stop(seconds)

    # Imports and new meshes: one at a time

    def begin(self, title: str, create: Callable[[Path], Work]) -> Running:
        """Takes on the work that `create` makes, with a folder for its files. Raises RefusalError if there is some."""
        if self.running is not None:
            raise RefusalError(say("A head is being made already: wait for it, or press Cancel."))
        folder = Path(tempfile.mkdtemp(prefix="head-capture-"))
        try:
            self.running = Running(title, create(folder), folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self.running

    def end(self) -> None:
        """Lets go of the work, whatever its state; stops it first if it still goes on."""
        running, self.running = self.running, None
        if running is None:
            return
        if running.work.state == "running":
            with suppress(Exception):
                running.work.cancel()
        if running.timer is not None:
            # The window may be gone, and its timer with it.
            with suppress(Exception):
                bpy.context.window_manager.event_timer_remove(running.timer)
        shutil.rmtree(running.folder, ignore_errors=True)
        redraw()

    def end_rendering(self) -> bool:
        """Lets go of the turntable; whether it is complete and in its place. Raises OSError."""
        rendering, self.rendering = self.rendering, None
        if rendering is None:
            return False
        if not rendering.over:  # its scene is in use: it is left to Blender, which ends the job
            rendering.forget()
            return False
        return rendering.finish()

    # Chores: outlive windows and files

    def set_up(self, title: str, job: Any) -> None:
        """Goes on with an environment job until it is over."""
        self.setup, self.setup_title = job, title
        _keep_ticking()

    def examine(self, job: Any) -> None:
        """Goes on with the doctor until he is done."""
        self.doctor = job
        _keep_ticking()

    @property
    def setting_up(self) -> bool:
        """Whether an environment job goes on."""
        return self.setup is not None and self.setup.state == "running"

    @property
    def examining(self) -> bool:
        """Whether the doctor is at work."""
        return self.doctor is not None and self.doctor.state == "running"

    def tick(self) -> bool:
        """One look at the chores; whether any goes on."""
        for chore in (self.setup, self.doctor):
            if chore is None or chore.state != "running":
                continue
            try:
                chore.step()
            except Exception:
                traceback.print_exc()
                chore.cancel()
            if chore is self.setup and chore.state != "running":
                self._looked = False
        return self.setting_up or self.examining

    def close(self) -> None:
        """Ends everything."""
        self.end()
        with suppress(Exception):
            self.end_rendering()
        for chore in (self.setup, self.doctor):
            if chore is not None and chore.state == "running":
                with suppress(Exception):
                    chore.cancel()
        self.stop_engine()


_session = Session()


def current() -> Session:
    """The session of this Blender."""
    return _session


@contextmanager
def to_the_end(session: Session, running: Running) -> Iterator[None]:
    """Steps the work until it is over, for Blender in background mode; then lets go of it."""
    try:
        while not running.work.step(0.05):
            time.sleep(0.005)
        yield
    finally:
        session.end()


def chore_to_the_end(session: Session) -> None:
    """Steps the chores until they are over, for Blender in background mode."""
    while session.tick():
        time.sleep(0.05)


def redraw() -> None:
    """Has the panel and the preferences drawn anew in every window."""
    manager = bpy.context.window_manager
    for window in manager.windows if manager else ():
        for area in window.screen.areas:
            if area.type == "PREFERENCES":
                area.tag_redraw()
            elif area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


def _tick() -> float | None:
    goes_on = _session.tick()
    redraw()
    return 0.25 if goes_on else None


def _keep_ticking() -> None:
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=0.05, persistent=True)


@bpy.app.handlers.persistent
def _before_another_file(*_: Any) -> None:
    _session.end()
    with suppress(OSError):
        _session.end_rendering()


def register() -> None:
    """Ends work that belongs to a file before another one is loaded."""
    bpy.app.handlers.load_pre.append(_before_another_file)


def unregister() -> None:
    """Ends everything."""
    bpy.app.handlers.load_pre.remove(_before_another_file)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    _session.close()
