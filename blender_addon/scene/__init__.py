# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From plain data to objects in Blender: no HTTP and no engine in here."""

from __future__ import annotations

from .assemble import HeadScene, build_head, head_collections
from .export import export_head
from .head import HeadArrays, fill_mesh
from .render import RenderOptions, render_orbit, render_ring, render_still
from .rendering import TurntableRender

__all__ = [
    "HeadArrays",
    "HeadScene",
    "RenderOptions",
    "TurntableRender",
    "build_head",
    "export_head",
    "fill_mesh",
    "head_collections",
    "render_orbit",
    "render_ring",
    "render_still",
]
