"""Surfaces that a photo doesn't show made calm: what relief a model guesses there is none."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from tpn_engine.camera import Camera
from tpn_engine.surface.isosurface import smooth_normals
from tpn_engine.surface.membrane import edge_lengths, membrane, mesh_edges
from tpn_engine.surface.settle import off_floor
from tpn_engine.surface.sight import facing, rise

TURNED = (0.2, 0.6)  # cosine to the nearer of the camera and the front over which a surface comes to be shown
FACE = (0.04, 0.12)  # EG3D units along z over which a face begins, which models know well
BACK = (0.3, -0.5)  # z of normals over which the side of a head becomes its back
# EG3D units over which is averaged: normals that tell where a surface turns to, the sides, and the back, on which
# the planes that serve front and back leave a trace of the face.
LOOK_AROUND, SIDE, BEHIND = 0.01, 0.016, 0.045


def calmed(
    vertices: np.ndarray, triangles: np.ndarray, camera: Camera, floor: float | None, known: np.ndarray
) -> np.ndarray:
    """Vertices [N, 3] float32 of a head, smoothed beside and behind what `camera` and a look from the front show.

    Smoothed twice, the second time what the first took away: less of the head's roundness is lost. A head cut at
    `floor` stays level there, and so does what is `known` [N] in [0, 1].
    """
    edges = mesh_edges(triangles)
    length = np.median(edge_lengths(vertices, edges))
    normals = _averaged(smooth_normals(vertices, triangles), edges, rounds=round((LOOK_AROUND / length) ** 2))
    shown = np.maximum(facing(vertices, normals, camera), normals[:, 2])
    guessed = (1 - rise(shown, TURNED)) * (1 - rise(vertices[:, 2], FACE)) * off_floor(vertices, floor) * (1 - known)
    reach = guessed * (SIDE + (BEHIND - SIDE) * rise(normals[:, 2], BACK))
    with np.errstate(divide="ignore"):
        strength = (length / reach) ** 2

    def smoothing(values: np.ndarray) -> np.ndarray:
        """What values [N, 3] gain by being smoothed."""
        steps = values[edges[:, 1]] - values[edges[:, 0]]
        return membrane(vertices, edges, np.zeros_like(values), strength, -steps)

    lost = -smoothing(vertices.astype(np.float64))
    return (vertices + smoothing(lost)).astype(np.float32)


def _averaged(normals: np.ndarray, edges: np.ndarray, rounds: int) -> np.ndarray:
    """Unit normals [N, 3] averaged with their neighbours', over and over."""
    count = len(normals)
    pairs = np.concatenate([edges, edges[:, ::-1], np.arange(count)[:, None].repeat(2, axis=1)])
    near = sparse.csr_matrix((np.ones(len(pairs), np.float32), pairs.T), (count, count))
    mean = sparse.diags(1 / np.bincount(pairs[:, 0]).astype(np.float32)) @ near
    for _ in range(rounds):
        normals = mean @ normals
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
