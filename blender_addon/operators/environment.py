# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own Python environment: set up, update, repair, remove. Blender's Python is never touched."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import bpy

from .. import paths
from .. import session as sessions
from ..engine.environment import Environment
from ..preferences import HeadCapturePreferences, preferences


class _EnvironmentOperator:
    """Begins an environment job, which goes on beside all else; in background mode it runs whole."""

    @classmethod
    def poll(cls: Any, _context: Any) -> bool:
        session = sessions.current()
        if session.setting_up:
            cls.poll_message_set("The engine is being set up already")
            return False
        if session.running is not None:
            cls.poll_message_set("A head is being made: wait for it or cancel it first")
            return False
        return True

    def begin(self, environment: Environment, preferences: HeadCapturePreferences) -> Any:
        """The job."""
        raise NotImplementedError

    def execute(self: Any, context: Any) -> set[str]:
        session = sessions.current()
        try:
            session.stop_engine(seconds=5.0)  # whose files can't be replaced while it runs
            session.set_up(self.bl_label, self.begin(Environment(paths.environment_folder()), preferences(context)))
        except sessions.TROUBLE as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if bpy.app.background:
            sessions.chore_to_the_end(session)
            if session.setup.state != "done":
                self.report({"ERROR"}, session.setup.error)
                return {"CANCELLED"}
        return {"FINISHED"}


class SetUpEngine(_EnvironmentOperator, bpy.types.Operator):
    """Makes the environment and installs the engine into it."""

    bl_idname = "head_capture.set_up_engine"
    bl_label = "Set Up Engine"
    bl_description = "Install the engine into an environment of its own; Blender's Python is left alone"

    def begin(self, environment: Environment, preferences: HeadCapturePreferences) -> Any:
        return environment.set_up(base_python(preferences), preferences.install_source())


class UpdateEngine(_EnvironmentOperator, bpy.types.Operator):
    """Installs the newest fitting engine."""

    bl_idname = "head_capture.update_engine"
    bl_label = "Update Engine"
    bl_description = "Install the newest engine that fits this extension"

    def begin(self, environment: Environment, preferences: HeadCapturePreferences) -> Any:
        return environment.update(preferences.install_source())


class RepairEngine(_EnvironmentOperator, bpy.types.Operator):
    """Makes the environment anew."""

    bl_idname = "head_capture.repair_engine"
    bl_label = "Repair Engine"
    bl_description = "Make the engine's environment anew and install everything again; captured heads are kept"

    def begin(self, environment: Environment, preferences: HeadCapturePreferences) -> Any:
        return environment.repair(base_python(preferences), preferences.install_source())


class RemoveEngine(_EnvironmentOperator, bpy.types.Operator):
    """Deletes the environment."""

    bl_idname = "head_capture.remove_engine"
    bl_label = "Remove Engine"
    bl_description = "Delete the engine's environment from this computer; captured heads are kept"

    def invoke(self, context: Any, event: Any) -> set[str]:
        return context.window_manager.invoke_confirm(self, event)

    def begin(self, environment: Environment, _preferences: HeadCapturePreferences) -> Any:
        return environment.remove()


def base_python(preferences: HeadCapturePreferences) -> Path:
    """The Python to make the environment with: the user's choice, else Blender's own."""
    return paths.absolute(preferences.base_python) if preferences.base_python else Path(sys.executable)
