# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The photo as a small picture in the panel."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import bpy.utils.previews  # pyright: ignore[reportMissingModuleSource]

UNREADABLE = frozenset({".heic", ".heif", ".avif"})  # by Blender; the engine reads them

_previews: Any = None


def thumbnail(path: Path) -> int:
    """The icon of a photo; 0 where Blender can't show it."""
    if _previews is None or path.suffix.lower() in UNREADABLE:
        return 0
    with suppress(OSError, RuntimeError, KeyError):
        key = f"{path}|{path.stat().st_mtime_ns}"
        if key not in _previews:
            if len(_previews) > 20:
                _previews.clear()
            _previews.load(key, str(path), "IMAGE")
        return _previews[key].icon_id
    return 0


def register() -> None:
    """Makes room for thumbnails."""
    global _previews
    _previews = bpy.utils.previews.new()


def unregister() -> None:
    """Frees them."""
    global _previews
    bpy.utils.previews.remove(_previews)
    _previews = None
