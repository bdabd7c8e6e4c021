# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The panels of a head that is there: its mesh, its turntable, its files."""

from __future__ import annotations

import json
from typing import Any

import bpy

from .. import session as sessions
from ..operators.export_head import FORMATS
from ..operators.heads import head_of, the_head
from ..properties import METHODS, MODELS, QUALITIES, RESOLUTIONS
from ..scene import HeadScene, head_collections
from ..scene.assemble import PROVENANCE
from ..session import RefusalError
from ..words import show
from .layout import big, paragraph, split_column
from .photo_panel import CATEGORY


class _HeadPanel:
    """Shown once there is a head in the scene."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY

    @classmethod
    def poll(cls, context: Any) -> bool:
        return bool(head_collections(context.scene))

    def draw(self: Any, context: Any) -> None:
        collection = the_head(context)
        if collection is None:
            self.layout.label(text="Select a captured head", icon="RESTRICT_SELECT_OFF")
            return
        try:
            head = head_of(collection)
        except RefusalError as error:
            paragraph(self.layout, context, str(error), icon="ERROR")
            return
        self.draw_head(context, head)


class HEAD_CAPTURE_PT_head(_HeadPanel, bpy.types.Panel):  # noqa: N801 - the name Blender asks for
    """What the head is, what to know about it, and its mesh anew."""

    bl_label = "Captured Head"
    bl_order = 1

    def draw_head(self, context: Any, head: HeadScene) -> None:
        layout = self.layout
        provenance = json.loads(head.head[PROVENANCE])
        asked = provenance.get("settings", {})
        row = layout.row(align=True)
        row.label(text=head.collection.name.removeprefix("Head - "), icon="USER", translate=False)
        row.operator("head_capture.look_at_head", text="", icon="ZOOM_SELECTED")
        row.operator("head_capture.look_through_photo_camera", text="", icon="VIEW_CAMERA")
        facts = [_label(MODELS, asked.get("model")), _label(METHODS, asked.get("method"))]
        paragraph(layout, context, " · ".join(fact for fact in facts if fact))
        paragraph(layout, context, show("{count} triangles", count=f"{len(head.head.data.polygons):,}"))
        for warning in provenance.get("warnings", ()):
            text = warning["message"] if isinstance(warning, dict) and "message" in warning else str(warning)
            paragraph(layout.box(), context, text, icon="ERROR")
        if sessions.current().running is None:
            _draw_rebuild(layout, context, asked)
        shading = getattr(context.space_data, "shading", None)
        if shading is not None and shading.type == "SOLID" and shading.color_type != "VERTEX":
            box = layout.box()
            paragraph(
                box, context, show("Solid view shows one color: choose Attribute to see the photo's."), icon="INFO"
            )
            split_column(box).prop(shading, "color_type", text="Solid Color")
        view = context.scene.view_settings
        if view.view_transform != "Standard":
            box = layout.box()
            paragraph(box, context, show("The scene's view transform changes the photo's colors."), icon="INFO")
            split_column(box).prop(view, "view_transform", text="View Transform")


def _draw_rebuild(layout: Any, context: Any, asked: dict[str, Any]) -> None:
    settings = context.scene.head_capture
    column = layout.column(align=True)
    column.label(text="Rebuild Mesh")
    row = column.row(align=True)
    row.enabled = context.mode == "OBJECT"
    for quality, label, _ in QUALITIES:
        resolution = RESOLUTIONS.get(quality, settings.custom_resolution)
        if quality == "CUSTOM":
            row = column.row(align=True)
            row.enabled = context.mode == "OBJECT"
            row.prop(settings, "custom_resolution")
        now = asked.get("resolution") == resolution and (quality != "CUSTOM" or resolution not in RESOLUTIONS.values())
        button = row.operator(
            "head_capture.remesh",
            text=label if quality != "CUSTOM" else "",
            icon="NONE" if quality != "CUSTOM" else "FILE_REFRESH",
            depress=now,
        )
        button.resolution = resolution
        button.colors = asked.get("colors", "photo")


class HEAD_CAPTURE_PT_turntable(_HeadPanel, bpy.types.Panel):  # noqa: N801 - the name Blender asks for
    """One turn around the head as a film."""

    bl_label = "Turntable"
    bl_order = 2
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 - Blender wants a plain set

    def draw_head(self, context: Any, head: HeadScene) -> None:
        settings = context.scene.head_capture
        self.layout.row().prop(settings, "turntable_path", expand=True)
        column = split_column(self.layout)
        if settings.turntable_path == "ORBIT":
            column.prop(settings, "turntable_frames")
        else:
            column.label(text=show("{count} cameras", count=len(head.ring)), translate=False)
        column.prop(settings, "turntable_size")
        column.prop(settings, "turntable_engine")
        column.prop(settings, "turntable_view")
        column.prop(settings, "turntable_format")
        row = big(self.layout)
        row.enabled = settings.turntable_path == "ORBIT" or bool(head.ring)
        row.operator("head_capture.render_turntable", text="Render Turntable", icon="RENDER_ANIMATION")


class HEAD_CAPTURE_PT_export(_HeadPanel, bpy.types.Panel):  # noqa: N801 - the name Blender asks for
    """The head as a file."""

    bl_label = "Export Head"
    bl_order = 3
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012 - Blender wants a plain set

    def draw_head(self, _context: Any, _head: HeadScene) -> None:
        column = self.layout.column(align=True)
        column.scale_y = 1.2
        for formats in (FORMATS[:3], FORMATS[3:]):
            row = column.row(align=True)
            for name, label, _ in formats:
                row.operator("head_capture.export_head", text=label).file_format = name


def _label(items: Any, identifier: str | None) -> str:
    return next((show(item[1]) for item in items if item[0] == identifier), "")
