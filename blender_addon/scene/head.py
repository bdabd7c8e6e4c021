# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head object: mesh and colour attribute from the engine's NPZ."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass

import bpy
import numpy as np

from .space import blender_points, linear_colors

COLOR_ATTRIBUTE = "Color"


@dataclass(frozen=True)
class HeadArrays:
    """The head mesh as the engine hands it over, checked.

    `vertices` [N, 3] in EG3D units, `triangles` [M, 3] counter-clockwise seen from outside,
    `colors` [N, 3] sRGB in [0, 1]. Raises ValueError where the arrays do not fit together.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colors: np.ndarray

    def __post_init__(self) -> None:
        for name in ("vertices", "triangles", "colors"):
            array = getattr(self, name)
            if array.ndim != 2 or array.shape[1] != 3 or len(array) == 0:
                raise ValueError(f"The head mesh is damaged: {name} has shape {array.shape}, not [N, 3].")
        if len(self.colors) != len(self.vertices):
            raise ValueError("The head mesh is damaged: it has not one colour for each vertex.")
        if self.triangles.min() < 0 or self.triangles.max() >= len(self.vertices):
            raise ValueError("The head mesh is damaged: a triangle names a vertex that is not there.")
        if not (np.isfinite(self.vertices).all() and np.isfinite(self.colors).all()):
            raise ValueError("The head mesh is damaged: it holds numbers that are not finite.")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HeadArrays:
        """Reads the engine's NPZ. Raises ValueError when the file is not a head mesh."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in ("vertices", "triangles", "colors")}
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{os.fspath(path)} is not a head mesh: {error}") from error
        return cls(
            arrays["vertices"].astype(np.float32),
            arrays["triangles"].astype(np.int32),
            arrays["colors"].astype(np.float32),
        )


def create_head(name: str, arrays: HeadArrays, material: bpy.types.Material) -> bpy.types.Object:
    """The head object in Blender's axes and metres, smooth shaded, not yet in a collection."""
    mesh = bpy.data.meshes.new(name)
    fill_mesh(mesh, arrays)
    mesh.materials.append(material)
    return bpy.data.objects.new(name, mesh)


def fill_mesh(mesh: bpy.types.Mesh, arrays: HeadArrays) -> None:
    """Replaces the mesh's geometry and colours; materials stay.

    The engine's normals are left out: Blender's own differ from them by little, and custom
    normals would go stale with the first sculpt stroke.
    """
    mesh.clear_geometry()
    triangle_count = len(arrays.triangles)
    mesh.vertices.add(len(arrays.vertices))
    mesh.vertices.foreach_set("co", _flat(blender_points(arrays.vertices), np.float32))
    mesh.loops.add(triangle_count * 3)
    mesh.loops.foreach_set("vertex_index", _flat(arrays.triangles, np.int32))
    mesh.polygons.add(triangle_count)
    mesh.polygons.foreach_set("loop_start", np.arange(0, triangle_count * 3, 3, dtype=np.int32))
    mesh.update(calc_edges=True)
    mesh.shade_smooth()

    # FLOAT_COLOR on points keeps the values; BYTE_COLOR would round them.
    attribute = mesh.color_attributes.new(COLOR_ATTRIBUTE, "FLOAT_COLOR", "POINT")
    rgba = np.ones((len(arrays.vertices), 4), np.float32)
    rgba[:, :3] = linear_colors(arrays.colors.astype(np.float64))
    attribute.data.foreach_set("color", rgba.ravel())
    mesh.color_attributes.active_color_index = 0
    mesh.color_attributes.render_color_index = 0
    mesh.validate()


def _flat(array: np.ndarray, dtype: type) -> np.ndarray:
    return np.ascontiguousarray(array, dtype).ravel()
