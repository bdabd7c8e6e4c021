# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cancel: stops what goes on, in the engine too."""

from __future__ import annotations

from typing import Any

import bpy

from .. import session as sessions


class Cancel(bpy.types.Operator):
    """Stops the import or the new mesh."""

    bl_idname = "head_capture.cancel"
    bl_label = "Cancel"
    bl_description = "Stop making the head"
    bl_options = {"INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    @classmethod
    def poll(cls, _context: Any) -> bool:
        return sessions.current().running is not None

    def execute(self, _context: Any) -> set[str]:
        running = sessions.current().running
        if running is not None:
            running.cancel()
        return {"FINISHED"}


class CancelSetup(bpy.types.Operator):
    """Stops an environment job."""

    bl_idname = "head_capture.cancel_setup"
    bl_label = "Cancel"
    bl_description = "Stop installing; what was downloaded so far is kept for the next time"
    bl_options = {"INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    @classmethod
    def poll(cls, _context: Any) -> bool:
        return sessions.current().setting_up

    def execute(self, _context: Any) -> set[str]:
        sessions.current().setup.cancel()
        return {"FINISHED"}
