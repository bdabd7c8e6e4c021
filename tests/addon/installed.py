"""The extension switched on in a fresh Blender, with an engine of this Python."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bpy
from recording_layout import RecordingLayout
from skimage import data, io

MODULE = "blender_addon"


@contextmanager
def switched_on(folder: Path) -> Iterator[Any]:
    """The extension's preferences, while it is on; its captures go to `folder`."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    assert bpy.ops.preferences.addon_enable(module=MODULE) == {"FINISHED"}
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.engine_python = sys.executable
    preferences.cache_folder = str(folder / "captures")
    preferences.device = "cpu"
    try:
        yield preferences
    finally:
        bpy.ops.preferences.addon_disable(module=MODULE)


def portrait(folder: Path) -> Path:
    """NASA's photo of Eileen Collins, in the public domain."""
    path = folder / "collins.jpg"
    io.imsave(path, data.astronaut()[:360, 60:420], check_contrast=False)
    return path


def drawn(panel: str, *, open_panels: bool = True) -> RecordingLayout:
    """What the panel of this name shows now; nothing if it would not be shown."""
    layout = RecordingLayout(open_panels)
    kind = getattr(bpy.types, panel)
    if not hasattr(kind, "poll") or kind.poll(bpy.context):
        stand_in = SimpleNamespace(layout=layout)
        if hasattr(kind, "draw_head"):
            stand_in.draw_head = lambda context, head: kind.draw_head(stand_in, context, head)
        kind.draw(stand_in, bpy.context)
    return layout
