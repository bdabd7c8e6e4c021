# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the extension keeps what is its own."""

from __future__ import annotations

from pathlib import Path

import bpy

ROOT = __package__ or ""  # the name Blender knows the extension by
HERE = Path(__file__).parent


def user_folder() -> Path:
    """The folder that Blender gives the extension for its files; made where missing."""
    if ROOT.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(ROOT, create=True))
    # Installed as a plain add-on, say from a clone: Blender gives out no folder of its own then.
    return Path(bpy.utils.user_resource("DATAFILES", path="head_capture", create=True))


def environment_folder() -> Path:
    """Where the engine's own Python environment is made."""
    return user_folder() / "engine"


def log_folder() -> Path:
    """Where the engine writes its log."""
    return user_folder() / "logs"


def default_cache_folder() -> Path:
    """Where captures are kept unless the user chose another folder."""
    return user_folder() / "captures"


def bundled_wheel() -> Path | None:
    """The engine's wheel where it came inside the extension's zip."""
    wheels = sorted((HERE / "engine_wheel").glob("tpn_engine-*.whl"))
    return wheels[-1] if wheels else None


def absolute(path: str) -> Path:
    """A path as typed into a field, where `//` stands for the .blend file's folder."""
    return Path(bpy.path.abspath(path)).expanduser()
