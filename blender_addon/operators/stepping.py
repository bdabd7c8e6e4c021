# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an operator does long work: by a timer in a window, whole in background mode."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import bpy

from .. import session as sessions
from ..session import RefusalError, Running, Work
from ..words import say

WAITING = "Waiting for Object Mode"


class Stepped:
    """What import and new mesh have in common.

    A subclass says how its work begins (`create`) and what it leaves in the scene (`build`). In a
    window the work is stepped by a timer; Escape and Cancel stop it. No data of Blender's is kept
    from one step to the next.
    """

    title = ""
    _running: Running | None = None

    @classmethod
    def poll(cls: Any, _context: Any) -> bool:
        if sessions.current().running is not None:
            cls.poll_message_set("A head is being made already")
            return False
        return True

    def create(self, context: Any, folder: Path) -> Work:
        """Begins the work, its files in `folder`. Raises RefusalError and ValueError."""
        raise NotImplementedError

    def build(self, context: Any, work: Any) -> str:
        """Puts the result into the scene and says so in a sentence. Raises RefusalError and ValueError."""
        raise NotImplementedError

    def invoke(self: Any, context: Any, _event: Any) -> set[str]:
        if bpy.app.background:
            return self.execute(context)
        session = sessions.current()
        try:
            self._running = session.begin(self.title, lambda folder: self.create(context, folder))
            manager = context.window_manager
            self._running.timer = manager.event_timer_add(sessions.TICK, window=context.window)
            manager.modal_handler_add(self)
        except sessions.TROUBLE as error:
            return self._refuse(error)
        sessions.redraw()
        return {"RUNNING_MODAL"}

    def execute(self: Any, context: Any) -> set[str]:
        session = sessions.current()
        try:
            running = session.begin(self.title, lambda folder: self.create(context, folder))
            with sessions.to_the_end(session, running):
                return self._finish(context, running)
        except sessions.TROUBLE as error:
            return self._refuse(error)

    def modal(self: Any, context: Any, event: Any) -> set[str]:
        session = sessions.current()
        running = self._running
        if session.running is not running:  # another file was opened
            return {"CANCELLED"}
        try:
            if event.type == "ESC" and event.value == "PRESS":
                running.cancel()
                return {"RUNNING_MODAL"}
            if event.type != "TIMER":
                return {"PASS_THROUGH"}
            if not self._step(context, running):
                return {"PASS_THROUGH"}
            result = self._finish(context, running)
        except sessions.TROUBLE as error:
            result = self._refuse(error)
        except Exception as error:  # whatever it was, the panel must not say for ever that a head is being made
            traceback.print_exc()
            result = self._refuse(error)
        self._let_go(context)
        return result

    def cancel(self: Any, context: Any) -> None:
        """Called by Blender when the window closes or another file is loaded."""
        if sessions.current().running is self._running:
            self._let_go(context)

    def _step(self: Any, context: Any, running: Running) -> bool:
        before = running.text
        over = running.work.step()
        # Undo in other modes does not know of new objects: the head comes when the artist is back.
        running.waiting = ""
        if over and running.state == "done" and context.mode != "OBJECT":
            running.waiting = WAITING
            over = False
        if running.text != before:
            context.workspace.status_text_set(running.text)
            sessions.redraw()
        return over

    def _finish(self: Any, context: Any, running: Running) -> set[str]:
        work: Any = running.work
        if running.state == "cancelled":
            self.report({"INFO"}, say("Cancelled"))
            return {"CANCELLED"}
        if running.state != "done":
            raise RefusalError(work.error)
        sentence = self.build(context, work)
        for warning in work.warnings:
            self.report({"WARNING"}, warning)
        self.report({"INFO"}, sentence)
        return {"FINISHED"}

    def _refuse(self: Any, error: Exception) -> set[str]:
        self.report({"ERROR"}, str(error) or type(error).__name__)
        return {"CANCELLED"}

    def _let_go(self, context: Any) -> None:
        sessions.current().end()
        if context.workspace is not None:
            context.workspace.status_text_set(None)
