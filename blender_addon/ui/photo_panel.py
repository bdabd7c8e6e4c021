# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel from photo to head."""

from __future__ import annotations

from typing import Any

import bpy

from .. import paths
from .. import session as sessions
from ..preferences import preferences
from ..properties import FITTED, NON_COMMERCIAL
from ..words import show
from .layout import big, paragraph, setup_progress, split_column
from .preferences import OFFLINE
from .thumbnails import thumbnail

CATEGORY = "Head Capture"


class HEAD_CAPTURE_PT_photo(bpy.types.Panel):  # noqa: N801 - the name Blender asks for
    """Photo, button, the few choices that matter; the others folded below."""

    bl_label = "Face from Photo"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = CATEGORY
    bl_order = 0

    def draw(self, context: Any) -> None:
        session, own = sessions.current(), preferences(context)
        if session.setting_up:
            setup_progress(self.layout, session)
            paragraph(self.layout, context, show("You can go on working meanwhile."))
        elif session.engine_python(own) is None:
            _draw_set_up(self.layout, context, session, own)
        else:
            _draw_import(self.layout, context, session, own)


def _draw_import(layout: Any, context: Any, session: sessions.Session, own: Any) -> None:
    settings = context.scene.head_capture
    running = session.running
    photo = layout.column()
    photo.enabled = running is None
    _draw_photo(photo, context, settings)
    if running is None:
        # Without a photo the button asks for one.
        name = "import_face" if settings.photo else "import_face_from_file"
        big(layout).operator(f"head_capture.{name}", text="Import Face from Photo", icon="USER")
    else:
        _draw_progress(layout, running)
    layout.separator(factor=0.5)
    choices = layout.column()
    choices.enabled = running is None
    _draw_choices(choices, context, settings, own)
    header, body = layout.panel("head_capture_options", default_closed=True)
    header.label(text="Options")
    if body is not None:
        body.enabled = running is None
        _draw_options(body, settings)


def _draw_set_up(layout: Any, context: Any, session: sessions.Session, own: Any) -> None:
    if session.setup is not None and session.setup.state == "failed":
        box = layout.box()
        box.alert = True
        paragraph(box, context, session.setup.error, icon="ERROR")
    if bpy.app.online_access or own.wheel_folder:
        paragraph(
            layout,
            context,
            show(
                "Heads are made by an engine on this computer. Setting it up downloads about 1 GB, once; "
                "your photos never leave this computer."
            ),
        )
        big(layout).operator("head_capture.set_up_engine", text="Set Up Engine", icon="IMPORT")
    else:
        paragraph(layout, context, show(OFFLINE), icon="INTERNET_OFFLINE")
    layout.operator("head_capture.show_preferences", text="Preferences", icon="PREFERENCES")


def _draw_photo(layout: Any, context: Any, settings: Any) -> None:
    if not settings.photo:
        row = layout.row()
        row.scale_y = 1.2
        row.operator("head_capture.choose_photo", text="Choose Photo", icon="IMAGE_DATA")
        paragraph(layout, context, show("Or drop a photo onto the 3D view."))
        return
    path = paths.absolute(settings.photo)
    box = layout.box()
    icon = thumbnail(path)
    if icon:
        box.template_icon(icon_value=icon, scale=7.0)
    row = box.row(align=True)
    row.label(text=path.name, icon="NONE" if icon else "IMAGE_DATA", translate=False)
    row.operator("head_capture.choose_photo", text="", icon="FILE_FOLDER")
    row.operator("head_capture.forget_photo", text="", icon="X")


def _draw_progress(layout: Any, running: sessions.Running) -> None:
    column = layout.column(align=True)
    bar = column.row()
    bar.scale_y = 1.2
    bar.progress(factor=running.work.fraction, text=show(running.stage))
    column.operator("head_capture.cancel", text="Cancel", icon="X")


def _draw_choices(layout: Any, context: Any, settings: Any, own: Any) -> None:
    column = split_column(layout)
    column.prop(settings, "model")
    if settings.model in NON_COMMERCIAL and not own.accept_non_commercial:
        box = layout.box()
        paragraph(box, context, show("This model is for research and evaluation only, not for paid work."), icon="INFO")
        box.prop(own, "accept_non_commercial")
    if settings.model == "file":
        split_column(layout).prop(own, "model_file", text="File")
    column = split_column(layout)
    column.prop(settings, "quality")
    if settings.quality == "CUSTOM":
        column.prop(settings, "custom_resolution")


def _draw_options(layout: Any, settings: Any) -> None:
    column = split_column(layout)
    column.prop(settings, "method")
    if settings.method in FITTED:
        column.prop(settings, "time_limit")
    column.prop(settings, "colors")
    column.separator(factor=0.5)
    column.prop(settings, "face")
    column.prop(settings, "level")
    column.separator(factor=0.5)
    column.prop(settings, "ring")
    column.prop(settings, "frames")
    column.separator(factor=0.5)
    layout.prop(settings, "solid_colors")
