"""From a radiance field to a head mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tpn_engine.camera import Camera
from tpn_engine.errors import OptionError
from tpn_engine.nets.field import TriplaneField
from tpn_engine.progress import SILENT, Progress
from tpn_engine.surface.cleanup import (
    decimated,
    largest_component,
    remove_background,
    smoothed,
    watertight,
)
from tpn_engine.surface.colors import vertex_colors
from tpn_engine.surface.density import BLOCK, Lattice, surface_density
from tpn_engine.surface.isosurface import isosurface, smooth_normals
from tpn_engine.surface.mesh import HeadMesh

MAX_RESOLUTION = 1024


@dataclass(frozen=True)
class MeshOptions:
    """How a mesh is made from a field.

    `resolution` points of the lattice along each edge of the box; `level` the iso-level; `border` the
    fraction of them left out at each side (EG3D's scripts: 30/256). `largest_component` keeps one
    connected part. `smooth`: iterations of Taubin's smoothing. `triangles`: decimate to at most so many.
    `solid`: close every hole, for printing. Raises OptionError for values that can't be used.
    """

    resolution: int = 256
    level: float = 10.0
    border: float = 0.0
    largest_component: bool = True
    smooth: int = 0
    triangles: int | None = None
    solid: bool = False

    def __post_init__(self) -> None:
        if not 16 <= self.resolution <= MAX_RESOLUTION:
            raise OptionError(f"The resolution must be between 16 and {MAX_RESOLUTION}.")
        if not math.isfinite(self.level):
            raise OptionError("The iso-level must be a number.")
        if not 0 <= self.border < 0.5 or self.resolution - 2 * self.trim <= BLOCK:
            raise OptionError("The border must be a fraction that leaves a lattice: between 0 and 0.2.")
        if self.smooth < 0:
            raise OptionError("Smoothing takes a number of iterations, 0 for none.")
        if self.triangles is not None and self.triangles < 100:
            raise OptionError("A head needs at least 100 triangles.")

    @property
    def trim(self) -> int:
        """Lattice points left out at each side."""
        return int(self.border * self.resolution)


def extract_mesh(
    field: TriplaneField,
    options: MeshOptions | None = None,
    *,
    camera: Camera | None = None,
    matte: np.ndarray | None = None,
    progress: Progress = SILENT,
) -> HeadMesh:
    """The head mesh of `field`.

    With the source `camera` and the person's `matte` [H, W] in [0, 1], what the camera sees beside the
    person is removed. Raises OptionError where the field has no surface at the level.
    """
    options = options or MeshOptions()
    lattice = Lattice(options.resolution, field.box_warp, options.trim)
    density = surface_density(field, lattice, options.level, progress)
    progress("surface", 0.0)
    surface = isosurface(density.values, lattice, options.level)
    progress("surface", 0.5)
    if camera is not None and matte is not None:
        surface = remove_background(surface, camera, matte, lattice.coordinates[-1])
    if options.largest_component:
        surface = largest_component(surface)
    if options.smooth:
        surface = smoothed(surface, options.smooth)
    if options.triangles is not None:
        surface = decimated(surface, options.triangles)
    if options.solid:
        surface = watertight(surface)
    progress("colours", 0.0)
    vertices, triangles = surface
    mesh = HeadMesh(
        vertices=vertices,
        triangles=triangles,
        normals=smooth_normals(vertices, triangles),
        colors=vertex_colors(field, vertices),
    )
    progress("colours", 1.0)
    return mesh
