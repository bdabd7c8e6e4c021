# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running engine: give memory back, stop, examine, open the log; and the way to the preferences."""

from __future__ import annotations

from typing import Any

import bpy

from .. import paths
from .. import session as sessions
from ..engine.client import EngineError
from ..engine.doctor import DoctorJob
from ..preferences import preferences
from ..session import RefusalError
from ..words import say


class ReleaseMemory(bpy.types.Operator):
    """Drops the model from the device."""

    bl_idname = "head_capture.release_memory"
    bl_label = "Release GPU Memory"
    bl_description = "Give the engine's memory back, say for rendering; the next photo takes a little longer"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        if _client() is None:
            cls.poll_message_set("The engine is not running")
            return False
        return True

    def execute(self, _context: Any) -> set[str]:
        client = _client()
        if client is None:
            self.report({"INFO"}, say("The engine is not running"))
            return {"CANCELLED"}
        try:
            client.release()
        except EngineError as error:
            self.report({"ERROR"}, error.message)
            return {"CANCELLED"}
        self.report({"INFO"}, say("The engine's memory is free again."))
        return {"FINISHED"}


class StopEngine(bpy.types.Operator):
    """Ends the engine; it starts by itself when it is needed."""

    bl_idname = "head_capture.stop_engine"
    bl_label = "Stop Engine"
    bl_description = "End the engine; it starts again by itself with the next photo"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        session = sessions.current()
        return session.engine is not None and session.running is None

    def execute(self, _context: Any) -> set[str]:
        sessions.current().stop_engine()
        return {"FINISHED"}


class Doctor(bpy.types.Operator):
    """Looks for what is wrong with the engine."""

    bl_idname = "head_capture.doctor"
    bl_label = "Doctor"
    bl_description = "Look for what is wrong with the engine, and say so in sentences"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        return not sessions.current().examining

    def execute(self, context: Any) -> set[str]:
        session = sessions.current()
        python = session.engine_python(preferences(context))
        try:
            if python is None:
                raise RefusalError(say("The engine is not set up yet."))
            session.examine(DoctorJob(python))
        except sessions.TROUBLE as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if bpy.app.background:
            sessions.chore_to_the_end(session)
        return {"FINISHED"}


class CopyReport(bpy.types.Operator):
    """Puts what the doctor and the installation said on the clipboard."""

    bl_idname = "head_capture.copy_report"
    bl_label = "Copy"
    bl_description = "Copy these lines, to ask somebody for help"
    bl_options = {"INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    def execute(self, context: Any) -> set[str]:
        context.window_manager.clipboard = report_text()
        self.report({"INFO"}, say("Copied"))
        return {"FINISHED"}


class OpenLog(bpy.types.Operator):
    """Opens the engine's newest log file."""

    bl_idname = "head_capture.open_log"
    bl_label = "Open Log"
    bl_description = "Open the engine's log file"

    def execute(self, _context: Any) -> set[str]:
        folder = paths.log_folder()
        logs = [file for file in folder.glob("*") if file.is_file()] if folder.is_dir() else []
        if not logs:
            self.report({"INFO"}, say("The engine has not written a log yet."))
            return {"CANCELLED"}
        newest = max(logs, key=lambda file: file.stat().st_mtime)
        return bpy.ops.wm.path_open(filepath=str(newest))


class ShowPreferences(bpy.types.Operator):
    """Opens the preferences of this extension."""

    bl_idname = "head_capture.show_preferences"
    bl_label = "Preferences"
    bl_description = "Open the preferences of Head Capture"
    bl_options = {"INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    def execute(self, _context: Any) -> set[str]:
        return bpy.ops.preferences.addon_show(module=paths.ROOT)


def report_text() -> str:
    """All that helps somebody who was not here."""
    session = sessions.current()
    lines = [f"Head Capture, Blender {bpy.app.version_string}"]
    for title, chore in ((session.setup_title, session.setup), ("Doctor", session.doctor)):
        if chore is not None:
            lines += ["", f"{title}: {chore.state}", *([chore.error] if chore.error else []), *chore.lines]
    return "\n".join(lines)


def _client() -> Any:
    engine = sessions.current().engine
    return engine.client if engine is not None and engine.state == "ready" else None
