"""Runs inside the Blender window: does what the test asks for, and keeps the time of every turn of Blender's loop.

The test writes `command-<n>.py` into the folder named by HEAD_CAPTURE_WORK; what the command leaves in `answer` comes
back as `answer-<n>.json`. Commands set things up and look at what is there; clicks and keys come from the mouse and the
keyboard of the virtual screen.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import traceback
from pathlib import Path
from typing import Any

import bpy

WORK = Path(os.environ["HEAD_CAPTURE_WORK"])
turns: list[float] = []  # when Blender's loop came round, seconds
_done = 0


def keep_time() -> float:
    """Called by Blender as often as its loop lets it."""
    turns.append(time.monotonic())
    return 0.01


def obey() -> float:
    """Does the next command that lies there, if any."""
    global _done
    command = WORK / f"command-{_done}.py"
    if command.exists():
        _write(WORK / f"answer-{_done}.json", _answer(command.read_text(encoding="utf-8")))
        _done += 1
    return 0.05


def _answer(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {"bpy": bpy, "turns": turns, "view3d": view3d}
    try:
        exec(code, names)
        return {"answer": names.get("answer")}
    except Exception:
        return {"error": traceback.format_exc()}


def _write(path: Path, content: Any) -> None:
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    os.replace(unfinished, path)


def view3d(region: str = "WINDOW") -> Any:
    """The context of the 3D view's region of this type."""
    window = bpy.context.window_manager.windows[0]
    (area,) = (area for area in window.screen.areas if area.type == "VIEW_3D")
    (found,) = (one for one in area.regions if one.type == region)
    return bpy.context.temp_override(window=window, area=area, region=found)


with contextlib.suppress(AttributeError):
    bpy.context.preferences.view.show_splash = False
bpy.context.preferences.use_preferences_save = False
bpy.app.timers.register(keep_time, persistent=True)
bpy.app.timers.register(obey, persistent=True)
