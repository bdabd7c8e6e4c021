"""Values on a mesh's vertices that keep to what is known and to given differences elsewhere."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

TOLERANCE = 5e-4  # of the residual: colours are then right to a fraction of a grey level
ITERATIONS = 60
CLUSTER = 4.0  # edges of the mesh along each edge of a cluster


def mesh_edges(triangles: np.ndarray) -> np.ndarray:
    """Every edge once, [E, 2], the lower vertex first."""
    pairs = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    count = int(triangles.max(initial=0)) + 1
    return np.stack(np.divmod(np.unique(pairs[:, 0] * count + pairs[:, 1]), count), axis=1)


def edge_lengths(vertices: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Of each edge [E, 2], [E]."""
    return np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)


def membrane(
    vertices: np.ndarray,
    edges: np.ndarray,
    known: np.ndarray,
    strength: np.ndarray,
    differences: np.ndarray,
) -> np.ndarray:
    """Values [N, C] that minimise, over edges and vertices, (step - difference)^2 + strength (value - known)^2.

    `known` [N, C] are held to with `strength` [N] >= 0, exactly where it is infinite; `differences` [E, C]
    are the second vertex's value less the first's (Perez et al. 2003, on a graph). Where a connected part
    holds nothing known, its values stay near `known` all the same.
    """
    count = len(vertices)
    fixed = np.isinf(strength)
    free = np.flatnonzero(~fixed)
    values = known.astype(np.float64)
    if not len(free):
        return values
    ones = np.ones(len(edges))
    rows = np.arange(len(edges))
    slope = sparse.csr_matrix(
        (np.concatenate([-ones, ones]), (np.concatenate([rows, rows]), edges.T.ravel())), (len(edges), count)
    )
    screen = np.where(fixed, 0.0, np.maximum(strength, 1e-7))
    matrix = (slope.T @ slope + sparse.diags(screen)).tocsr()
    right = slope.T @ differences + screen[:, None] * known
    right = (right - matrix[:, fixed] @ values[fixed])[free]
    matrix = matrix[free][:, free]
    values[free] = _solved(matrix, right, values[free], _clusters(vertices, edges, free))
    return values


def _clusters(vertices: np.ndarray, edges: np.ndarray, free: np.ndarray) -> sparse.csr_matrix:
    """Which cube of space each free vertex lies in, [free, cubes]."""
    length = np.median(edge_lengths(vertices, edges))
    cell = np.floor((vertices[free] - vertices.min(0)) / max(CLUSTER * length, 1e-9)).astype(np.int64)
    code = (cell[:, 0] * (cell[:, 1].max() + 1) + cell[:, 1]) * (cell[:, 2].max() + 1) + cell[:, 2]
    cubes, cube = np.unique(code, return_inverse=True)
    return sparse.csr_matrix((np.ones(len(free)), (np.arange(len(free)), cube)), (len(free), len(cubes)))


def _solved(matrix: sparse.csr_matrix, right: np.ndarray, start: np.ndarray, clusters: sparse.csr_matrix) -> np.ndarray:
    """Conjugate gradients for all columns at once, preconditioned by the diagonal and by the clusters."""
    coarse = linalg.splu((clusters.T @ matrix @ clusters).tocsc())
    diagonal = matrix.diagonal()[:, None]

    def preconditioned(residual: np.ndarray) -> np.ndarray:
        return residual / diagonal + clusters @ coarse.solve(clusters.T @ residual)

    values, residual = start.copy(), right - matrix @ start
    limit = TOLERANCE * np.linalg.norm(right, axis=0)
    step = preconditioned(residual)
    product = (residual * step).sum(0)
    for _ in range(ITERATIONS):
        if (np.linalg.norm(residual, axis=0) <= limit).all():
            break
        moved = matrix @ step
        length = product / np.maximum((step * moved).sum(0), 1e-300)
        values += length * step
        residual -= length * moved
        turned = preconditioned(residual)
        previous, product = product, (residual * turned).sum(0)
        step = turned + product / np.maximum(previous, 1e-300) * step
    return values
