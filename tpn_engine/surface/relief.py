"""A face's relief from its landmarks: lids, lips and nostrils that a small model doesn't make.

A model knows where a face lies and how it is rounded; of what is finer it makes little that is true, and in an open
mouth shreds. A net that finds landmarks tells how deep they lie, too. What is finer than BLENDED is theirs, the rest
is the model's, along the rays of the camera, so that the photo keeps its place.
"""

from __future__ import annotations

import numpy as np
import trimesh
from scipy import ndimage
from scipy.spatial import Delaunay

from tpn_engine.camera import Camera
from tpn_engine.surface.density import Lattice
from tpn_engine.surface.isosurface import isosurface
from tpn_engine.surface.raster import rasterize
from tpn_engine.surface.settle import drawn_toward, slope
from tpn_engine.surface.sight import RASTER_SIZE, rise, sample

# EG3D units, standard deviations: the detail that landmarks give, and the smoothing of what is drawn of them.
BLENDED, ROUNDED = 0.02, 0.003
LEAP = 0.02  # EG3D units of depth between neighbouring pixels that mean two surfaces
# EG3D units over which the relief begins, from the border of the landmarks and from leaps.
FROM_BORDER, FROM_LEAP = (0.005, 0.03), (0.005, 0.025)
THICKNESS = 0.01  # EG3D units before and behind the relief within which densities tell how far away it is
BEHIND = 0.03  # and behind it, what is filled
ROUNDS = 2  # of subdivision (Loop 1987)
ENOUGH = 100  # pixels of the face, to tell how it lies
STRETCH = (0.7, 1.3)  # of the landmarks' depth: the net's is relative


def raise_relief(values: np.ndarray, lattice: Lattice, level: float, camera: Camera, landmarks: np.ndarray) -> None:
    """Give the surface at `level` of densities [X, Y, Z] on a lattice its landmarks' relief, in place.

    `landmarks` [L, 3]: where the picture of `camera` has them, u and v in [0, 1], and how deep in the same unit,
    relative.
    """
    vertices, triangles = isosurface(values, lattice, level)
    found = _relief(rasterize(vertices, triangles, camera, RASTER_SIZE).depth, camera, landmarks)
    if found is None:
        return
    relief, share = found
    region = _around(lattice, camera, relief, share > 0)
    x, *across = (axis[some] for axis, some in zip(lattice.coordinates, region, strict=True))
    near = values[region]
    unit = slope(near - np.float32(level)) * np.float32(THICKNESS / lattice.step[0])
    for part, at in zip(near, x, strict=True):  # one by one: all would take much memory
        points = np.stack(np.meshgrid(at, *across, indexing="ij"), axis=-1).reshape(-1, 3)
        places, depth = np.split(camera.project(points), [2], axis=1)
        behind, here = (depth[:, 0] - sample(relief, places), sample(share, places))
        here = (here * (behind < BEHIND)).astype(np.float32).reshape(part.shape)
        raised = np.clip(behind / THICKNESS, -1, 1).astype(np.float32).reshape(part.shape)
        part[...] = drawn_toward(part, level, unit, raised, here)


def _relief(head: np.ndarray, camera: Camera, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """How deep a face is to lie, [S, S], and how far it is to lie there, in [0, 1]; None where it isn't seen.

    `head` [S, S]: how deep it lies, infinite beside it.
    """
    face = _landmark_depth(head, camera, landmarks)
    scale = pixels_of_unit(head, camera)
    region, share = shown_face(head, face, scale)
    inner = share > 0.5
    if inner.sum() < ENOUGH:
        return None
    face, head = averaged(face, region, ROUNDED * scale), np.where(region, head, 0)
    rows, columns = np.mgrid[: len(head), : len(head)] / len(head)
    known = np.stack([face, columns, rows, np.ones_like(face)], axis=-1)
    stretch = np.clip(np.linalg.lstsq(known[inner], head[inner], rcond=None)[0][0], *STRETCH)
    lies = np.linalg.lstsq(known[inner][:, 1:], (head - stretch * face)[inner], rcond=None)[0]
    face = stretch * face + known[..., 1:] @ lies
    return face + averaged(head - face, region, BLENDED * scale), share


def shown_face(head: np.ndarray, face: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Where a picture of a head's depth [S, S] shows nothing but its face, bool [S, S], and how far so, in [0, 1].

    `face` [S, S] is the depth of the landmarks; both are infinite where nothing is. `scale` is pixels an EG3D unit.
    """
    shown = np.isfinite(head) & np.isfinite(face)
    region = shown & _one_surface(head) & _one_surface(face)
    return region, rise(_from_edge(shown) / scale, FROM_BORDER) * rise(_from_edge(region) / scale, FROM_LEAP)


def pixels_of_unit(head: np.ndarray, camera: Camera) -> float:
    """How many pixels of a picture of a head's depth [S, S] an EG3D unit is; of an empty one, at the world's middle."""
    seen = head[np.isfinite(head)]
    away = np.median(seen) if len(seen) else np.linalg.norm(camera.position)
    return float(camera.intrinsics[0, 0] * len(head) / away)


def _around(lattice: Lattice, camera: Camera, relief: np.ndarray, where: np.ndarray) -> tuple[slice, ...]:
    """The part of a lattice around a picture's [S, S] relief `where` it is [S, S] bool."""
    row, column = np.nonzero(where)
    points = camera.unproject((np.stack([column, row], axis=1) + 0.5) / len(relief), relief[where])
    low, high = points.min(0) - BEHIND, points.max(0) + BEHIND
    starts, ends = (
        [int(np.searchsorted(axis, end)) for axis, end in zip(lattice.coordinates, ends, strict=True)]
        for ends in (low, high)
    )
    return tuple(slice(start, end) for start, end in zip(starts, ends, strict=True))


def _landmark_depth(head: np.ndarray, camera: Camera, landmarks: np.ndarray) -> np.ndarray:
    """Depth [S, S] of the surface through the landmarks, infinite beside it, as far away as the head's there."""
    size = len(head)
    row, column = (landmarks[:, 1::-1].T * size).astype(int).clip(0, size - 1)
    seen = head[row, column]
    seen = seen[np.isfinite(seen)]
    if not len(seen):
        return np.full_like(head, np.inf)
    points = landmark_points(landmarks, camera, float(np.median(seen)))
    # From the front no part of a face covers another. The surface is rounded as finely as the landmarks lie.
    triangles = Delaunay(points[:, :2]).simplices
    used, triangles = np.unique(triangles, return_inverse=True)  # not those at one place with another
    surface = trimesh.remesh.subdivide_loop(points[used], triangles.reshape(-1, 3), ROUNDS)
    return rasterize(*surface, camera, size).depth


def landmark_points(landmarks: np.ndarray, camera: Camera, away: float) -> np.ndarray:
    """Landmarks [L, 3] of a picture as points [L, 3], in the median as far away as this, EG3D units."""
    depth = away * (1 + (landmarks[:, 2] - np.median(landmarks[:, 2])) / camera.intrinsics[0, 0])
    return camera.unproject(landmarks[:, :2], depth)


def _one_surface(depth: np.ndarray) -> np.ndarray:
    """Which pixels of a picture of depth [S, S] show something, and the same as their neighbours."""
    seen = np.where(np.isfinite(depth), depth, 0)
    spread = ndimage.maximum_filter(seen, 3) - ndimage.minimum_filter(seen, 3)
    return np.isfinite(depth) & (spread < 2 * LEAP)


def _from_edge(region: np.ndarray) -> np.ndarray:
    """Pixels from each place of a region [S, S] to the nearest outside it."""
    return np.asarray(ndimage.distance_transform_edt(region))


def averaged(values: np.ndarray, region: np.ndarray, deviation: float) -> np.ndarray:
    """Values [S, S] averaged over what of a region [S, S] lies around each pixel."""
    total = ndimage.gaussian_filter(np.where(region, values, 0), deviation)
    return total / np.maximum(ndimage.gaussian_filter(region.astype(np.float64), deviation), 1e-3)
