# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""File > Import > Face from Photo, and the line in the status bar."""

from __future__ import annotations

from typing import Any

import bpy

from .. import session as sessions
from ..words import show


def draw_import(self: Any, _context: Any) -> None:
    """The entry in File > Import."""
    self.layout.operator("head_capture.import_face_from_file", text="Face from Photo", icon="USER")


def draw_status_bar(self: Any, _context: Any) -> None:
    """A bar while a head is made."""
    running = sessions.current().running
    if running is None:
        return
    row = self.layout.row(align=True)
    row.ui_units_x = 12
    row.progress(factor=running.work.fraction, text=show(running.stage))
    row.operator("head_capture.cancel", text="", icon="X")


def register() -> None:
    """Adds both."""
    bpy.types.TOPBAR_MT_file_import.append(draw_import)
    bpy.types.STATUSBAR_HT_header.append(draw_status_bar)


def unregister() -> None:
    """Removes them."""
    bpy.types.STATUSBAR_HT_header.remove(draw_status_bar)
    bpy.types.TOPBAR_MT_file_import.remove(draw_import)
