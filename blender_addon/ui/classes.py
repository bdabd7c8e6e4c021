# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The classes that Blender draws."""

from __future__ import annotations

import bpy

from .drop import HEAD_CAPTURE_FH_photo
from .head_panels import HEAD_CAPTURE_PT_export, HEAD_CAPTURE_PT_head, HEAD_CAPTURE_PT_turntable
from .photo_panel import HEAD_CAPTURE_PT_photo

CLASSES = (
    HEAD_CAPTURE_PT_photo,
    HEAD_CAPTURE_PT_head,
    HEAD_CAPTURE_PT_turntable,
    HEAD_CAPTURE_PT_export,
    HEAD_CAPTURE_FH_photo,
)


def register() -> None:
    """Adds panels and the drop handler."""
    for item in CLASSES:
        bpy.utils.register_class(item)


def unregister() -> None:
    """Removes them."""
    for item in reversed(CLASSES):
        bpy.utils.unregister_class(item)
