# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A photo dropped onto the 3D view."""

from __future__ import annotations

from typing import Any

import bpy

from ..operators.import_face import PHOTO_FORMATS


class HEAD_CAPTURE_FH_photo(bpy.types.FileHandler):  # noqa: N801 - the name Blender asks for
    """Blender has handlers of its own for pictures and asks which one is meant."""

    bl_idname = "HEAD_CAPTURE_FH_photo"
    bl_label = "Face from Photo"
    bl_import_operator = "head_capture.import_face"
    bl_file_extensions = PHOTO_FORMATS

    @classmethod
    def poll_drop(cls, context: Any) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D"
