"""A head's densities made ready for a mesh: what a model of surfaces makes badly is mended."""

from __future__ import annotations

import numpy as np

from tpn_engine.nets.field import TriplaneField
from tpn_engine.progress import SILENT, Progress
from tpn_engine.surface.colors import Photo
from tpn_engine.surface.density import Lattice, surface_density
from tpn_engine.surface.fringe import settle_fringe
from tpn_engine.surface.mend import mend
from tpn_engine.surface.relief import raise_relief
from tpn_engine.surface.settle import settle_collar


def ready_density(
    field: TriplaneField, lattice: Lattice, level: float, photo: Photo | None, progress: Progress = SILENT
) -> np.ndarray:
    """Densities [X, Y, Z] of a field on a lattice, right where the surface at `level` can be.

    Of a model of surfaces what is torn is mended, the face has the relief of the landmarks of its `photo`, collars hang
    together and fringes end where hair does.
    """
    density = surface_density(field, lattice, level, progress).values
    progress("surface", 0.0)
    if field.surface is not None:
        mend(density, lattice, level)
        if photo is not None and photo.landmarks is not None:
            raise_relief(density, lattice, level, photo.camera, photo.landmarks)
        settle_collar(density, lattice, level)
        settle_fringe(density, lattice, level)
    return density
