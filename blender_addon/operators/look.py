# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways to see the head: it is small in a new scene, and may stand inside the cube Blender begins with."""

from __future__ import annotations

import math
from typing import Any

import bpy
from mathutils import Euler, Vector  # pyright: ignore[reportMissingModuleSource]

from .. import session as sessions
from .heads import head_of, the_head

FRONT = Euler((math.radians(90), 0.0, 0.0))  # Blender's front view looks along +Y, at the face


def fill_view(view: Any, head: Any) -> None:
    """Turn a 3D view's `RegionView3D` to the front of a head object, which then fills it."""
    corners = [head.matrix_world @ Vector(corner) for corner in head.bound_box]
    low, high = (Vector([pick(c[axis] for c in corners) for axis in range(3)]) for pick in (min, max))
    view.view_perspective = "PERSP"
    view.view_rotation = FRONT.to_quaternion()
    view.view_location = (low + high) / 2
    view.view_distance = 1.8 * max(high - low)


class _Look:
    @classmethod
    def poll(cls: Any, context: Any) -> bool:
        return context.area is not None and context.area.type == "VIEW_3D" and the_head(context) is not None

    def execute(self: Any, context: Any) -> set[str]:
        collection = the_head(context)
        assert collection is not None  # poll
        try:
            self.look(context, head_of(collection))
        except sessions.TROUBLE as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class LookAtHead(_Look, bpy.types.Operator):
    """Fills the view with the head."""

    bl_idname = "head_capture.look_at_head"
    bl_label = "Look at Head"
    bl_description = "Fill the view with the head, seen from the front"
    bl_options = {"INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    def look(self, context: Any, head: Any) -> None:
        fill_view(context.space_data.region_3d, head.head)


class LookThroughPhotoCamera(_Look, bpy.types.Operator):
    """Shows the head over the photo."""

    bl_idname = "head_capture.look_through_photo_camera"
    bl_label = "Look through the Photo's Camera"
    bl_description = "Show the head from where the photo was taken, with the photo behind it"
    bl_options = {"UNDO", "INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    def look(self, context: Any, head: Any) -> None:
        context.scene.camera = head.source
        context.space_data.region_3d.view_perspective = "CAMERA"
