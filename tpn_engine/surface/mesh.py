"""The head mesh: what the whole way of the data ends in."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from tpn_engine.surface.files import write_mesh


@dataclass(frozen=True)
class HeadMesh:
    """A head's surface in the field's frame (x the subject's left, y up, z toward the viewer).

    `vertices` [N, 3] float32 in EG3D units; `triangles` [M, 3] int32, counter-clockwise seen from
    outside; `normals` [N, 3] float32, outward, of length one; `colors` [N, 3] float32 sRGB in [0, 1].
    """

    vertices: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray
    colors: np.ndarray

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a .glb, .obj, .ply, .stl or .npz file, whole or not at all.

        All but .npz are in metres, +Y up and the face toward +Z; .npz keeps EG3D units. Raises
        OptionError for another suffix and FileError where nothing can be written.
        """
        write_mesh(self, path)
