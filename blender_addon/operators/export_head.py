# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Export Head: only the head, with its colours, right by default."""

# pyright: reportInvalidTypeForm=false, reportMissingModuleSource=false
# No postponed annotations here: Blender makes the operator's properties of them.

from pathlib import Path
from typing import Any

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty

from .. import paths
from .. import session as sessions
from ..scene import export_head
from ..session import RefusalError
from ..words import say, show
from .heads import head_of, the_head

FORMATS = (
    ("GLB", "GLB", "For the web, games and most viewers, with colors"),
    ("OBJ", "OBJ", "For other 3D programs, with colors"),
    ("PLY", "PLY", "For sculpting and scan programs, with colors"),
    ("STL", "STL", "For 3D printing: millimeters, no colors"),
    ("USD", "USD", "For film and animation programs, with colors"),
)
SUFFIXES = {"GLB": ".glb", "OBJ": ".obj", "PLY": ".ply", "STL": ".stl", "USD": ".usdc"}
_OTHERS = {".usd", ".usda"}


class ExportHead(bpy.types.Operator):
    """Writes the head alone; the file's suffix follows the format."""

    bl_idname = "head_capture.export_head"
    bl_label = "Export Head"
    bl_description = "Write the head to a file, without its cameras"

    filepath: StringProperty(name="File", subtype="FILE_PATH", options={"SKIP_SAVE"})
    file_format: EnumProperty(name="Format", description="What is written", items=FORMATS)
    filter_glob: StringProperty(default="*.glb;*.obj;*.ply;*.stl;*.usd;*.usda;*.usdc", options={"HIDDEN"})
    check_existing: BoolProperty(default=True, options={"HIDDEN"})

    @classmethod
    def poll(cls, context: Any) -> bool:
        if the_head(context) is None:
            cls.poll_message_set("Select a captured head")
            return False
        if context.mode != "OBJECT":
            cls.poll_message_set("Go to Object Mode first")
            return False
        return True

    @classmethod
    def description(cls, _context: Any, properties: Any) -> str:
        return show(next(text for name, _, text in FORMATS if name == properties.file_format))

    def invoke(self, context: Any, _event: Any) -> set[str]:
        collection = the_head(context)
        assert collection is not None  # poll
        folder = Path(bpy.data.filepath).parent if bpy.data.filepath else Path.home()
        name = collection.name.removeprefix("Head - ")
        self.filepath = str(folder / (bpy.path.clean_name(name) + SUFFIXES[self.file_format]))
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, _context: Any) -> bool:
        """Keeps the suffix with the format while the artist chooses."""
        path = str(_with_suffix(Path(self.filepath), self.file_format))
        changed, self.filepath = path != self.filepath, path
        return changed

    def execute(self, context: Any) -> set[str]:
        try:
            if not self.filepath:
                raise RefusalError(say("Say where the head shall be written."))
            collection = the_head(context)
            if collection is None:
                raise RefusalError(say("Select a captured head first."))
            path = _with_suffix(paths.absolute(self.filepath), self.file_format)
            export_head(context, head_of(collection), path, self.file_format)
        except sessions.TROUBLE as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, say("Wrote {path}", path=path))
        return {"FINISHED"}


def _with_suffix(path: Path, file_format: str) -> Path:
    suffix = path.suffix.lower()
    if suffix == SUFFIXES[file_format] or (file_format == "USD" and suffix in _OTHERS):
        return path
    if suffix in {*SUFFIXES.values(), *_OTHERS}:
        return path.with_suffix(SUFFIXES[file_format])
    return path.with_name(path.name + SUFFIXES[file_format])
