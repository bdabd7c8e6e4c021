# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new mesh of a head that is there, from its capture: the photo is not looked at again."""

# pyright: reportInvalidTypeForm=false, reportMissingModuleSource=false
# No postponed annotations here: Blender makes the operator's properties of them.

import json
from pathlib import Path
from typing import Any

import bpy
from bpy.props import EnumProperty, IntProperty

from .. import session as sessions
from ..engine.importing import MeshJob
from ..preferences import preferences
from ..properties import COLORS
from ..scene import HeadArrays, fill_mesh
from ..scene.assemble import PROVENANCE
from ..session import RefusalError
from ..words import say
from .heads import head_of, the_head
from .stepping import Stepped


class Remesh(Stepped, bpy.types.Operator):
    """Replaces the mesh in place: cameras, materials and the object's place stay."""

    bl_idname = "head_capture.remesh"
    bl_label = "Rebuild Mesh"
    bl_description = "Make the mesh of this head anew, finer or coarser; sculpting done on it is lost"
    bl_options = {"UNDO"}  # noqa: RUF012 - Blender wants a plain set

    resolution: IntProperty(
        name="Steps", description="Steps along each edge of the volume", default=256, min=16, max=1024
    )
    colors: EnumProperty(name="Colors", description="Where the colors of the head come from", items=COLORS)

    title = "Rebuild Mesh"

    def create(self, context: Any, folder: Path) -> MeshJob:
        collection = the_head(context)
        if collection is None:
            raise RefusalError(say("Select the head to rebuild first."))
        head = head_of(collection)
        provenance = json.loads(head.head[PROVENANCE])
        capture_id = provenance.get("capture_id")
        if not capture_id:
            raise RefusalError(say("This head does not say which capture it came from: import its photo again."))
        self._head = head.head.session_uid
        model = provenance.get("settings", {}).get("model", "") or "file"
        engine = sessions.current().engine_for(preferences(context), model)
        return MeshJob(engine, capture_id, self.resolution, self.colors, folder)

    def build(self, context: Any, work: MeshJob) -> str:
        head = next((item for item in bpy.data.objects if item.session_uid == self._head), None)
        if head is None or PROVENANCE not in head:
            raise RefusalError(say("The head was deleted meanwhile."))
        arrays = HeadArrays.load(work.npz)
        if head.data.shape_keys:  # made for other vertices
            head.shape_key_clear()
        fill_mesh(head.data, arrays)
        provenance = json.loads(head[PROVENANCE])
        provenance.setdefault("settings", {}).update(resolution=self.resolution, colors=self.colors)
        head[PROVENANCE] = json.dumps(provenance)
        return say("{name}: {count} triangles", name=head.name, count=f"{len(arrays.triangles):,}")
