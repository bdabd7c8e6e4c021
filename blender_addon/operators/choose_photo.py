# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choosing the portrait in Blender's file browser, to look at it first or to import it at once."""

# pyright: reportInvalidTypeForm=false, reportMissingModuleSource=false
# No postponed annotations here: Blender makes the operator's properties of them.

from typing import Any

import bpy
from bpy.props import BoolProperty, StringProperty


class _PhotoBrowser:
    """A file browser that shows pictures, with thumbnails."""

    filepath: StringProperty(name="Photo", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_image: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    display_type: bpy.props.EnumProperty(items=(("THUMBNAIL", "Thumbnails", ""),), options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self: Any, context: Any, _event: Any) -> set[str]:
        self.filepath = context.scene.head_capture.photo
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}


class ChoosePhoto(_PhotoBrowser, bpy.types.Operator):
    """Shows the photo in the panel."""

    bl_idname = "head_capture.choose_photo"
    bl_label = "Choose Photo"
    bl_description = "Choose the portrait: one clear face, from the front, evenly lit"
    bl_options = {"INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    def execute(self, context: Any) -> set[str]:
        context.scene.head_capture.photo = self.filepath
        return {"FINISHED"}


class ImportFaceFromFile(_PhotoBrowser, bpy.types.Operator):
    """File > Import > Face from Photo."""

    bl_idname = "head_capture.import_face_from_file"
    bl_label = "Import Face from Photo"
    bl_description = "Choose a portrait and make a colored 3D head with its cameras from it"

    def execute(self, context: Any) -> set[str]:
        return bpy.ops.head_capture.import_face("INVOKE_DEFAULT", filepath=self.filepath)

    def draw(self, context: Any) -> None:
        settings = context.scene.head_capture
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        for name in ("model", "quality", "method", "colors"):
            layout.prop(settings, name)


class ForgetPhoto(bpy.types.Operator):
    """Empties the panel's photo."""

    bl_idname = "head_capture.forget_photo"
    bl_label = "Clear Photo"
    bl_description = "Take the photo out of the panel"
    bl_options = {"INTERNAL"}  # noqa: RUF012 - Blender wants a plain set

    def execute(self, context: Any) -> set[str]:
        context.scene.head_capture.photo = ""
        return {"FINISHED"}
