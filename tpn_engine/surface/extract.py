"""From a radiance field to a head mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import get_args

import torch

from tpn_engine.errors import OptionError
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.presets import MeshColors
from tpn_engine.progress import SILENT, Progress
from tpn_engine.surface.cleanup import (
    decimated,
    largest_component,
    remove_background,
    smoothed,
    watertight,
)
from tpn_engine.surface.colors import Photo, vertex_colors, with_photo
from tpn_engine.surface.density import BLOCK, Lattice
from tpn_engine.surface.displacement import displaced
from tpn_engine.surface.ears import on_ears, raise_ears, shaded, smooth_edges
from tpn_engine.surface.fringe import before_settling
from tpn_engine.surface.guessed import calmed
from tpn_engine.surface.isosurface import isosurface, smooth_normals
from tpn_engine.surface.mesh import HeadMesh
from tpn_engine.surface.outline import BEYOND, drawn_to_outline
from tpn_engine.surface.ready import ready_density
from tpn_engine.surface.settle import cut
from tpn_engine.surface.streaks import even_colors

MAX_RESOLUTION = 1024
# Widths of the crop. Each bend of a matte's outline is a ridge all along the head's side, so that it is smoothed. That
# draws it in where it is round, as facets of a mesh do, and strands of hair lie beyond it: half a pixel in all.
OUTLINE, DRAWN_IN = 1 / 85, 0.001


@dataclass(frozen=True)
class MeshOptions:
    """How a mesh is made from a field.

    `resolution` points of the lattice along each edge of the box; `level` the iso-level; `border` the
    fraction of them left out at each side (EG3D's scripts: 30/256); `floor` the y in EG3D units at which
    the neck is cut. `largest_component` keeps one connected part.
    `smooth`: iterations of Taubin's smoothing. `triangles`: decimate to at most so many.
    `solid`: close every hole, for printing. `colors`: the model's alone, or the photo's where it shows the
    head; then triangles are split where the photo is finer, unless `triangles` limits them. Raises
    OptionError for values that can't be used.
    """

    resolution: int = 256
    level: float = 10.0
    border: float = 0.0
    floor: float | None = None
    largest_component: bool = True
    smooth: int = 0
    triangles: int | None = None
    solid: bool = False
    colors: MeshColors = "model"

    def __post_init__(self) -> None:
        if not 16 <= self.resolution <= MAX_RESOLUTION:
            raise OptionError(f"The resolution must be between 16 and {MAX_RESOLUTION}.")
        if not math.isfinite(self.level):
            raise OptionError("The iso-level must be a number.")
        if not 0 <= self.border < 0.5 or self.resolution - 2 * self.trim <= BLOCK:
            raise OptionError("The border must be a fraction that leaves a lattice: between 0 and 0.2.")
        if self.floor is not None and not math.isfinite(self.floor):
            raise OptionError("The floor must be a number.")
        if self.smooth < 0:
            raise OptionError("Smoothing takes a number of iterations, 0 for none.")
        if self.triangles is not None and self.triangles < 100:
            raise OptionError("A head needs at least 100 triangles.")
        if self.colors not in get_args(MeshColors):
            raise OptionError(f"The colours must be one of {', '.join(get_args(MeshColors))}.")

    @property
    def trim(self) -> int:
        """Lattice points left out at each side."""
        return int(self.border * self.resolution)


def extract_mesh(
    field: TriplaneField,
    options: MeshOptions | None = None,
    *,
    photo: Photo | None = None,
    around: Photo | None = None,
    matted: bool = False,
    progress: Progress = SILENT,
) -> HeadMesh:
    """The head mesh of `field`.

    Torn surfaces are mended, and ears put where a surface has bumps for them. What a photo's outline bounds is drawn to
    it, not cut, what no `photo` shows of a surface is smoothed, and its face gets the relief that one shows. Outline
    and colours are those of more of the photo `around` the crop, where there is more.
    With a `photo`, what its camera sees beside the person is removed, unless the field is `matted` and holds
    nothing else: what lies there are shoulders that the photo's matte missed. Raises OptionError where the field
    has no surface at the level, and where colours of a photo are asked for without one.
    """
    options = options or MeshOptions()
    if options.colors == "photo" and photo is None:
        raise OptionError("There is no photo to take the colours from: ask for the model's.")
    outline = field.silhouette
    if outline is not None:
        if around is not None:
            outline = around.silhouette(outline.level, outline.label.device)
        outline = outline.smoothed(OUTLINE).wider(DRAWN_IN)
        field = replace(field, silhouette=outline.wider(BEYOND))
    lattice = Lattice(options.resolution, field.box, options.trim)
    density = ready_density(field, lattice, options.level, photo, progress)
    ears = [] if field.surface is None else raise_ears(density, lattice, options.level)
    if options.floor is not None:
        cut(density, lattice, options.level, options.floor)
    surface = isosurface(density, lattice, options.level)
    progress("surface", 0.5)
    if photo is not None and not matted:
        surface = remove_background(surface, photo.camera, photo.matte, lattice.coordinates[0, -1])
    if options.largest_component:
        surface = largest_component(surface)
    if options.smooth:
        surface = smoothed(surface, options.smooth)
    if options.triangles is not None:
        surface = decimated(surface, options.triangles)
    if options.solid:
        surface = watertight(surface)
    progress("colours", 0.0)
    placed, triangles = surface
    vertices = placed
    if field.surface is not None:
        placed = before_settling(torch.from_numpy(placed)).numpy()
    if field.surface is not None and photo is not None:
        vertices = calmed(vertices, triangles, photo.camera, options.floor, on_ears(vertices, ears))
    if outline is not None:
        vertices = drawn_to_outline(vertices, outline, options.floor)
    vertices = smooth_edges(vertices, triangles, ears)
    if field.surface is not None and photo is not None and photo.landmarks is not None:
        vertices, triangles, placed = displaced(vertices, triangles, placed, photo, finer=options.triangles is None)
    normals = smooth_normals(vertices, triangles)
    if options.colors == "model" or photo is None:
        mesh = HeadMesh(vertices, triangles, normals, shaded(vertex_colors(field, placed), placed, ears))
    else:
        colors = even_colors(field, placed, normals, outline)
        mesh = HeadMesh(vertices, triangles, normals, shaded(colors, placed, ears))
        progress("colours", 0.3)
        mesh = with_photo(mesh, around or photo, finer=options.triangles is None)
    progress("colours", 1.0)
    return mesh
