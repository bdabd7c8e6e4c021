# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One captured head as a file: nothing else of the scene in it, and its colours as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import bpy
from mathutils import Matrix  # pyright: ignore[reportMissingModuleSource]

from .assemble import HeadScene
from .head import COLOR_ATTRIBUTE

FileFormat = Literal["GLB", "OBJ", "PLY", "STL", "USD"]

MILLIMETRES = 1000.0  # in a metre: programs for 3D printing read the lengths in an STL as millimetres


def export_head(context: Any, head: HeadScene, path: str | os.PathLike[str], file_format: FileFormat) -> None:
    """Writes the head alone, as turned and scaled in the scene, with the place of its root as the origin.

    GLB, OBJ and PLY carry the colours so that any viewer shows them, USD as displayColor; STL has
    none and is in millimetres, the others in metres. Needs Object Mode. Raises RuntimeError with
    Blender's own words if the file can't be written; then nothing is left of it.
    """
    path = Path(path)
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        with _alone(context, head, file_format):
            _write(str(unfinished), file_format)
        if not unfinished.is_file():
            raise RuntimeError(f"{path} can't be written.")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _write(path: str, file_format: FileFormat) -> None:
    if file_format == "GLB":
        bpy.ops.export_scene.gltf(
            filepath=path,
            export_format="GLB",
            use_selection=True,
            export_vertex_color="MATERIAL",
            export_animations=False,
            export_cameras=False,
            export_lights=False,
            export_extras=False,
            export_apply=True,
        )
    elif file_format == "OBJ":
        bpy.ops.wm.obj_export(
            filepath=path, export_selected_objects=True, export_colors=True, export_materials=False, export_uv=False
        )
    elif file_format == "PLY":
        bpy.ops.wm.ply_export(
            filepath=path, export_selected_objects=True, export_colors="SRGB", export_normals=True, export_uv=False
        )
    elif file_format == "STL":
        bpy.ops.wm.stl_export(filepath=path, export_selected_objects=True, global_scale=MILLIMETRES)
    else:
        # Viewers take a material before displayColor, and Blender's preview of ours is plain grey.
        bpy.ops.wm.usd_export(filepath=path, selected_objects_only=True, export_materials=False)


@contextmanager
def _alone(context: Any, head: HeadScene, file_format: FileFormat) -> Iterator[None]:
    """A copy of the head that can be seen and is the only selected object; afterwards all is as it was."""
    view_layer = context.view_layer
    selected = [item for item in view_layer.objects if item.select_get()]
    active = view_layer.objects.active
    name = head.root.name
    copy = head.head.copy()
    mesh = None
    try:
        copy.animation_data_clear()
        copy.parent = None
        to_origin = Matrix.Translation(-head.root.matrix_world.translation)
        copy.matrix_world = to_origin @ head.head.matrix_world
        copy.hide_viewport = copy.hide_select = copy.hide_render = False
        copy.name = f"{name} export"
        if file_format == "USD":  # the name by which all viewers know vertex colours
            mesh = copy.data = head.head.data.copy()
            attribute = mesh.color_attributes.get(COLOR_ATTRIBUTE)
            if attribute is not None:
                attribute.name = "displayColor"
        context.scene.collection.objects.link(copy)
        for item in selected:
            item.select_set(False)
        copy.select_set(True)
        view_layer.objects.active = copy
        view_layer.update()
        yield
    finally:
        bpy.data.objects.remove(copy)
        if mesh is not None:
            bpy.data.meshes.remove(mesh)
        for item in selected:
            item.select_set(True)
        view_layer.objects.active = active
