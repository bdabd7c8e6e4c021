"""What is taken away from, or done to, the raw surface: floaters, backgrounds, noise, excess, holes."""

from __future__ import annotations

import fast_simplification
import manifold3d
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse import csgraph

from tpn_engine.camera import Camera
from tpn_engine.errors import OptionError

Surface = tuple[np.ndarray, np.ndarray]  # vertices [N, 3] float32, triangles [M, 3] int32

# Distances from the matte's edge in widths of the aligned crop. The pivot's outline is seldom nearer
# to the matte's than the first; hair and ears that differ reach less far than the second, while a
# background sheet goes on to the picture's edge.
NEAR_MATTE = 0.04
FAR_FROM_MATTE = 0.12


def remove_background(surface: Surface, camera: Camera, matte: np.ndarray, limit: float) -> Surface:
    """Remove what the source camera sees beside the person: sheets behind the head, floaters, frames.

    `matte` [H, W] in [0, 1] is the person in the picture of `camera`; beyond the picture its edge
    goes on. `limit` is the coordinate where the lattice ends. Of the surface outside the matte, the
    regions go that reach far from it and either are parts of their own or end at the lattice's
    border: a person that merely leaves the photo, or hair the matte missed, stays.
    """
    person = matte > 0.5
    if not person.any():
        return surface
    vertices, triangles = surface
    distance = _distance_outside(vertices, camera, person)
    outside = distance > NEAR_MATTE
    regions = _components(len(vertices), triangles[outside[triangles].all(axis=1)])
    parts = _components(len(vertices), triangles)
    whole = np.bincount(regions)[regions] == np.bincount(parts)[parts]
    far = _anywhere(distance > FAR_FROM_MATTE, regions)
    at_border = _anywhere(np.abs(vertices).max(axis=1) >= limit, regions)
    removed = outside & far & (whole | at_border)
    return _kept(surface, ~removed[triangles].any(axis=1))


def largest_component(surface: Surface) -> Surface:
    """The connected part with the most vertices: everything that floats, outside or inside, is gone."""
    vertices, triangles = surface
    labels = _components(len(vertices), triangles)
    largest = np.bincount(labels[triangles[:, 0]]).argmax()
    return _kept(surface, labels[triangles[:, 0]] == largest)


def smoothed(surface: Surface, iterations: int) -> Surface:
    """Taubin's smoothing (1995): noise goes, the volume stays."""
    shrink, grow = 0.5, -0.53
    vertices, triangles = surface
    count = len(vertices)
    starts, ends = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    edges = sparse.coo_matrix((np.ones(len(starts)), (starts, ends)), shape=(count, count)).tocsr()
    neighbours = ((edges + edges.T) > 0).astype(np.float64)
    degrees = np.maximum(np.asarray(neighbours.sum(axis=1)), 1.0)
    points = vertices.astype(np.float64)
    for _ in range(iterations):
        for step in (shrink, grow):
            points += step * (neighbours @ points / degrees - points)
    return points.astype(np.float32), triangles


def decimated(surface: Surface, triangles: int) -> Surface:
    """At most `triangles` triangles, by quadric errors; fewer are left as they are."""
    if triangles >= len(surface[1]):
        return surface
    points, faces = fast_simplification.simplify(*surface, target_count=triangles)[:2]
    return _kept((points.astype(np.float32), faces.astype(np.int32)), np.ones(len(faces), bool))


def watertight(surface: Surface) -> Surface:
    """The solid whose outside the surface is: holes capped, every edge shared by two triangles.

    Raises OptionError where the surface doesn't enclose a volume.
    """
    vertices, triangles = _capped(surface)
    solid = manifold3d.Manifold(manifold3d.Mesh(vertices, triangles.astype(np.uint32)))
    parts = solid.decompose() if solid.status() == manifold3d.Error.NoError else []
    body = max(parts, key=lambda part: part.volume(), default=solid)
    if body.volume() <= 0:
        raise OptionError("This surface can't be closed to a solid: try another resolution or iso-level.")
    mesh = body.to_mesh()
    return np.array(mesh.vert_properties[:, :3], np.float32), np.array(mesh.tri_verts, np.int32)


def _distance_outside(vertices: np.ndarray, camera: Camera, person: np.ndarray) -> np.ndarray:
    """How far each vertex is seen from the person, in widths of the picture; 0 inside."""
    height, width = person.shape
    distances = np.asarray(ndimage.distance_transform_edt(~person)) / width
    projected = camera.project(vertices)[:, :2] * (width, height)
    column, row = projected.astype(np.int64).clip(0, (width - 1, height - 1)).T
    return distances[row, column]


def _components(count: int, triangles: np.ndarray) -> np.ndarray:
    """The connected component of each of `count` vertices, [count]."""
    starts, ends = triangles[:, [0, 1]].ravel(), triangles[:, [1, 2]].ravel()
    edges = sparse.coo_matrix((np.ones(len(starts), np.int8), (starts, ends)), shape=(count, count))
    return csgraph.connected_components(edges, directed=False)[1]


def _anywhere(marked: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether any vertex with the same label is marked, for each vertex."""
    return (np.bincount(labels, marked) > 0)[labels]


def _kept(surface: Surface, chosen: np.ndarray) -> Surface:
    """The chosen triangles and the vertices they use."""
    vertices, triangles = surface
    triangles = triangles[chosen]
    used = np.zeros(len(vertices), bool)
    used[triangles] = True
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    return vertices[used], renumbered[triangles]


def _capped(surface: Surface) -> Surface:
    """The surface with a fan over each of its holes, from the middle of the hole's edge."""
    vertices, triangles = surface
    starts, ends = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    count = len(vertices)
    paired = np.isin(starts.astype(np.int64) * count + ends, ends.astype(np.int64) * count + starts)
    rim = np.stack([ends[~paired], starts[~paired]], axis=1)  # as the missing triangles run
    if not len(rim):
        return surface
    labels = _components(count, rim[:, [0, 1, 1]])
    hole = np.unique(labels[rim[:, 0]], return_inverse=True)[1]
    centres = np.stack([np.bincount(hole, vertices[rim[:, 0], axis]) / np.bincount(hole) for axis in range(3)], axis=1)
    fans = np.column_stack([rim, count + hole]).astype(np.int32)
    return np.concatenate([vertices, centres.astype(np.float32)]), np.concatenate([triangles, fans])
