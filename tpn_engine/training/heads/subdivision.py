"""Catmull-Clark subdivision of quad meshes as one sparse matrix: a morph then costs one product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class Subdivision:
    """One step of Catmull-Clark on F quads.

    `matrix` [V+E+F,V] takes the old vertices to the new ones: moved vertices, then one for each
    edge, then one for each face; its rows sum to one. `quads` [4F,4] index the new vertices and keep
    the winding; quad 4f+k lies at corner k of the old face f.
    """

    matrix: sparse.csr_matrix
    quads: np.ndarray


def catmull_clark(faces: np.ndarray, vertex_count: int) -> Subdivision:
    """Subdivide quads `faces` [F,4] once.

    Interior rules after Catmull and Clark (1978); borders become cubic B-splines, and a border
    vertex with other than two border edges stays where it is.
    """
    faces = faces.astype(np.int64)
    face_count = len(faces)
    face = np.repeat(np.arange(face_count), 4)
    start = faces.ravel()
    end = np.roll(faces, -1, axis=1).ravel()

    # Edges are numbered in the order in which the faces meet them.
    keys, first, of_key = np.unique(
        np.minimum(start, end) * vertex_count + np.maximum(start, end), return_index=True, return_inverse=True
    )
    edge_count = len(keys)
    order = np.argsort(first)
    number = np.empty(edge_count, np.int64)
    number[order] = np.arange(edge_count)
    edge = number[of_key.ravel()]
    ends = np.stack(np.divmod(keys[order], vertex_count), 1)
    faces_at_edge = np.bincount(edge, minlength=edge_count)

    centres = _matrix(face, start, np.full(len(start), 0.25), (face_count, vertex_count))

    inside = faces_at_edge == 2
    share = np.repeat(np.where(inside, 0.25, 0.5), 2)
    to_ends = _matrix(np.repeat(np.arange(edge_count), 2), ends.ravel(), share, (edge_count, vertex_count))
    to_faces = _matrix(edge, face, np.where(inside[edge], 0.25, 0.0), (edge_count, face_count))
    edge_points = to_ends + to_faces @ centres

    valence = np.bincount(ends.ravel(), minlength=vertex_count)
    on_border = faces_at_edge == 1
    border_edges = np.bincount(ends[on_border].ravel(), minlength=vertex_count)
    smooth = (border_edges == 0) & (valence > 0)
    crease = border_edges == 2
    n = np.maximum(valence, 1).astype(np.float64)
    own = np.where(smooth, (n - 2) / n, np.where(crease, 0.75, 1.0))
    spread = np.where(smooth, 1 / n**2, 0.0)
    here, there = np.concatenate([ends, ends[:, ::-1]]).T
    to_neighbours = np.where(np.tile(on_border, 2) & crease[here], 0.125, spread[here])
    vertex_points = (
        sparse.diags(own, format="csr")
        + _matrix(here, there, to_neighbours, (vertex_count, vertex_count))
        + _matrix(start, face, spread[start], (vertex_count, face_count)) @ centres
    )

    matrix = sparse.csr_matrix(sparse.vstack([vertex_points, edge_points, centres]))
    matrix.eliminate_zeros()
    after = vertex_count + edge
    before = np.roll(after.reshape(-1, 4), 1, axis=1).ravel()
    return Subdivision(matrix, np.stack([start, after, vertex_count + edge_count + face, before], 1))


def refine_corners(values: np.ndarray) -> np.ndarray:
    """Split what is given for each corner of the old quads, [F,4,C], linearly: [4F,4,C].

    Meant for texture coordinates, which have seams and so don't belong to vertices.
    """
    after = (values + np.roll(values, -1, axis=1)) / 2
    before = np.roll(after, 1, axis=1)
    centre = np.repeat(values.mean(1, keepdims=True), 4, axis=1)
    return np.stack([values, after, centre, before], 2).reshape(-1, 4, values.shape[2])


def _matrix(rows: np.ndarray, columns: np.ndarray, weights: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((weights, (rows, columns)), shape=shape)
