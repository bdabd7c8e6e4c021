"""What travels from the builder to the renderer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.spatial import KDTree

Material = Literal["skin", "cloth", "glossy", "hair_card", "decal", "strand"]
Color = tuple[float, float, float]  # linear RGB


@dataclass(frozen=True)
class Look:
    """The numbers of a material; each material reads the ones it needs.

    `tint` multiplies the picture's colour, or is the hair's; `root_tint` is the hair's colour in its
    depth; `bump` the height of the picture's relief in EG3D units; `luminance` the brightness of a
    hair picture that stands for `tint`.
    """

    tint: Color = (1.0, 1.0, 1.0)
    root_tint: Color = (0.5, 0.5, 0.5)
    roughness: float = 0.45
    specular: float = 1.0
    opacity: float = 1.0
    luminance: float = 0.4
    bump: float = 0.0


@dataclass(frozen=True)
class Mesh:
    """Triangles in EG3D's world with light transfer and one material.

    `positions`, `normals` [N,3]; `uv` [N,2]; `transfer` [N,9] (see transfer.py); `triangles` [T,3];
    `texture` uint8 [H,W,3 or 4] sRGB; `tangents` [N,4] for hair alone: its direction, and how much
    lighter or darker than its neighbours it is.
    """

    positions: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    transfer: np.ndarray
    triangles: np.ndarray
    texture: np.ndarray
    material: Material
    look: Look = field(default_factory=Look)
    tangents: np.ndarray | None = None


def linear_color(values: np.ndarray) -> Color:
    """Linear RGB [3] as plain numbers."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue


@dataclass(frozen=True)
class Surface:
    """A skin without texture seams: `points` [P,3], unit `normals` [P,3] and `triangles` [T,3]."""

    points: np.ndarray
    normals: np.ndarray
    triangles: np.ndarray

    @cached_property
    def seen(self) -> np.ndarray:
        """The points that the triangles meet in, [M,3]; the others are MakeHuman's helpers beside the body."""
        return self.points[np.unique(self.triangles)]

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self.points)

    def nearest(self, points: np.ndarray, limit: float = np.inf) -> np.ndarray:
        """The index of the skin's point nearest to each of `points` [N,3], [N]; P where none is within `limit`."""
        return np.asarray(self._tree.query(points, distance_upper_bound=limit)[1])
