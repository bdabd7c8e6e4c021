# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import Face from Photo."""

# pyright: reportInvalidTypeForm=false, reportMissingModuleSource=false
# No postponed annotations here: Blender makes the operator's properties of them.

from pathlib import Path
from typing import Any

import bpy
import numpy as np
from bpy.props import StringProperty

from .. import paths
from .. import session as sessions
from ..engine.importing import ImportJob, ImportSettings
from ..preferences import preferences
from ..scene import HeadArrays, build_head, head_collections
from ..session import RefusalError
from ..words import say
from .look import fill_view
from .stepping import Stepped

PHOTO_FORMATS = ".jpg;.jpeg;.png;.webp;.tif;.tiff;.bmp;.gif;.heic;.heif;.avif"


class ImportFace(Stepped, bpy.types.Operator):
    """Runs with the panel's settings; scripts set those on `scene.head_capture` first."""

    bl_idname = "head_capture.import_face"
    bl_label = "Import Face from Photo"
    bl_description = "Make a colored 3D head with its cameras from the photo"
    bl_options = {"UNDO"}  # noqa: RUF012 - Blender wants a plain set

    filepath: StringProperty(
        name="Photo", description="The portrait; empty: the panel's", subtype="FILE_PATH", options={"SKIP_SAVE"}
    )

    title = "Import Face from Photo"

    def create(self, context: Any, folder: Path) -> ImportJob:
        settings = context.scene.head_capture
        if self.filepath:
            settings.photo = self.filepath
        if not settings.photo:
            raise RefusalError(say("Choose a photo first."))
        photo = paths.absolute(settings.photo)
        if not photo.is_file():
            raise RefusalError(say("There is no photo at {path}.", path=photo))
        engine = sessions.current().engine_for(preferences(context), settings.model)
        # What is asked for when the work is done is what the panel says now.
        self._ring, self._frames, self._solid = settings.ring, settings.frames, settings.solid_colors
        self._settings = ImportSettings(
            photo=photo,
            model="" if settings.model == "file" else settings.model,
            method=settings.method,
            seconds=settings.fit_seconds,
            resolution=settings.resolution,
            face=settings.face - 1 if settings.face > 1 else None,
            level=settings.level,
            colors=settings.colors,
        )
        return ImportJob(engine, self._settings, folder)

    def build(self, context: Any, work: ImportJob) -> str:
        result, asked = work.result, self._settings
        assert result is not None
        provenance = {
            **result.provenance,
            "capture_id": result.capture_id,
            "settings": {
                "model": asked.model,
                "method": asked.method,
                "time_limit": asked.seconds,
                "resolution": asked.resolution,
                "face": asked.face,
                "level": asked.level,
                "colors": asked.colors,
            },
            "warnings": list(work.warnings),
        }
        first = not head_collections(context.scene)
        arrays = HeadArrays.load(result.npz)
        camera = np.array(result.camera)
        built = build_head(
            context.scene,
            result.name,
            arrays,
            camera,
            result.crop,
            provenance,
            ring=self._ring,
            frames=self._frames,
        )
        _select(context, built.head)
        if first and context.screen is not None:
            _look(context, built.head)
        if self._solid and context.screen is not None:
            _show_colors_in_solid_view(context.screen)
        return say("{name}: {count} triangles", name=built.collection.name, count=f"{len(arrays.triangles):,}")


def _select(context: Any, head: bpy.types.Object) -> None:
    for item in context.view_layer.objects:
        item.select_set(False)
    head.select_set(True)
    context.view_layer.objects.active = head


def _look(context: Any, head: bpy.types.Object) -> None:
    """The first head is looked at: in a view of many metres it is a speck. Later ones leave the view alone."""
    context.view_layer.update()  # or its bounds are those of nothing
    for area in context.screen.areas:
        if area.type == "VIEW_3D":
            fill_view(area.spaces.active.region_3d, head)


def _show_colors_in_solid_view(screen: bpy.types.Screen) -> None:
    for area in screen.areas:
        if area.type == "VIEW_3D":
            area.spaces.active.shading.color_type = "VERTEX"
