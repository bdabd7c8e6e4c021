# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The preferences: the engine first, then what it uses, then what is wrong."""

from __future__ import annotations

from typing import Any

import bpy

from .. import session as sessions
from ..words import show
from .layout import paragraph, setup_progress, split_column

OFFLINE = (
    "Blender may not go online: tick Allow Online Access in Preferences > System, "
    "or choose a wheel folder in the preferences of Head Capture."
)
LINES = 12  # of the installation that are shown


def draw_preferences(layout: Any, context: Any, own: Any) -> None:
    """All sections of `own`, the preferences of this extension."""
    session = sessions.current()
    _draw_engine(_section(layout, "Engine"), context, session, own)
    _draw_device(_section(layout, "Device"), session, own)
    _draw_models(_section(layout, "Models"), context, own)
    captures = split_column(_section(layout, "Captured Heads"))
    captures.prop(own, "cache_folder")
    captures.prop(own, "cache_size")
    _draw_doctor(_section(layout, "Doctor"), context, session)


def _section(layout: Any, title: str) -> Any:
    box = layout.box()
    box.label(text=title)
    return box


def _draw_engine(layout: Any, context: Any, session: sessions.Session, own: Any) -> None:
    if session.setting_up:
        setup_progress(layout, session)
    else:
        if own.engine_python:
            layout.label(text="Uses the Python chosen below", icon="CHECKMARK")
        elif session.installed:
            ready = show("Engine {version} is set up", version=session.installed)
            layout.label(text=ready, icon="CHECKMARK", translate=False)
        else:
            layout.label(text="The engine is not set up yet", icon="INFO")
        if session.setup is not None and session.setup.state == "failed":
            paragraph(layout, context, session.setup.error, icon="ERROR")
        can_install = bool(bpy.app.online_access or own.wheel_folder)
        if not can_install and not own.engine_python:
            paragraph(layout, context, show(OFFLINE), icon="INTERNET_OFFLINE")
        row = layout.row(align=True)
        names = ("set_up_engine",)
        if session.installed:
            names = ("update_engine", "repair_engine", "remove_engine")
        elif session.half_made:
            names = ("repair_engine", "remove_engine")
        for name in names:
            cell = row.row(align=True)
            cell.enabled = can_install or name == "remove_engine"
            cell.operator(f"head_capture.{name}")
    if session.setup is not None and session.setup.lines:
        _fold(layout, own, "show_lines")
        if own.show_lines:
            column = layout.column(align=True)
            column.scale_y = 0.75
            for line in session.setup.lines[-LINES:]:
                column.label(text=line, translate=False)
            layout.operator("head_capture.copy_report", icon="COPYDOWN")
    _fold(layout, own, "show_setup")
    if own.show_setup:
        column = split_column(layout)
        column.enabled = not session.setting_up
        column.prop(own, "base_python")
        column.prop(own, "wheel_folder")
        column.prop(own, "engine_python")


def _draw_device(layout: Any, session: sessions.Session, own: Any) -> None:
    column = split_column(layout)
    column.enabled = session.running is None
    column.prop(own, "device")
    row = layout.row(align=True)
    row.operator("head_capture.release_memory")
    row.operator("head_capture.stop_engine")


def _draw_models(layout: Any, context: Any, own: Any) -> None:
    paragraph(layout, context, show("Synthetic Heads comes with the engine and is free for any use (CC0)."))
    paragraph(
        layout,
        context,
        show("TriPlaneNet v1 and v2 use EG3D's weights: for research and evaluation only, not for paid work."),
    )
    layout.prop(own, "accept_non_commercial")
    split_column(layout).prop(own, "model_file")


def _draw_doctor(layout: Any, context: Any, session: sessions.Session) -> None:
    row = layout.row(align=True)
    row.operator("head_capture.doctor", icon="VIEWZOOM", text="Examine")
    row.operator("head_capture.copy_report", icon="COPYDOWN")
    row.operator("head_capture.open_log", icon="TEXT")
    if session.examining:
        layout.label(text="Looking at everything; this takes a few seconds", icon="TIME")
    elif session.doctor is not None:
        if session.doctor.error:
            paragraph(layout, context, session.doctor.error, icon="ERROR")
        for line in session.doctor.lines:
            paragraph(layout, context, line)


def _fold(layout: Any, own: Any, name: str) -> None:
    row = layout.row()
    row.alignment = "LEFT"
    row.prop(own, name, icon="DOWNARROW_HLT" if getattr(own, name) else "RIGHTARROW", emboss=False)
