"""The shape of a cap or headscarf: a shell around the head, seen as a sphere's grid of distances."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

from tpn_engine.training.heads.accessories import Headwear
from tpn_engine.training.heads.geometry import smoothstep, unit, vertex_normals
from tpn_engine.training.heads.mesh import Surface
from tpn_engine.training.heads.shapes import Shape, grid_triangles

RINGS, SPOKES = 26, 96
SMOOTHING = 2.0  # steps of the grid
NEIGHBOURS = 12  # skin points whose greatest distance counts in a direction
FARTHEST, FARTHEST_BELOW = 0.44, 0.34  # EG3D units: beyond the second lie shoulders, which the shell dives into
CUFF = 0.007  # by which a cap's turned-up edge is thicker
# Middle and pole: a cap's lies up and back, a scarf's behind, so that its edge runs around the face.
CENTRES = {"cap": np.array([0, 0.115, -0.035]), "scarf": np.array([0, 0.02, -0.03])}
POLES = {"cap": np.array([0, 0.94, -0.33]), "scarf": np.array([0, 0.12, -0.99])}


def headwear_shape(headwear: Headwear, skin: Surface) -> Shape:
    """The shell around the neutral or expressive `skin`, off it by its thickness everywhere."""
    pole = unit(POLES[headwear.kind])
    right = np.array([1.0, 0, 0])
    front = np.cross(right, pole)
    share = np.linspace(0.002, 1, RINGS)
    polar = np.radians(headwear.reach) * share[:, None]
    azimuth = np.arange(SPOKES)[None] * (2 * np.pi / SPOKES)
    directions = (
        np.cos(polar)[..., None] * pole
        + (np.sin(polar) * np.cos(azimuth))[..., None] * right
        + (np.sin(polar) * np.sin(azimuth))[..., None] * front
    )
    centre = CENTRES[headwear.kind]
    limit = FARTHEST_BELOW + (FARTHEST - FARTHEST_BELOW) * smoothstep(-0.6, -0.1, directions[..., 1])
    tight = np.minimum(distances(skin, centre, directions.reshape(-1, 3)).reshape(RINGS, SPOKES), limit)
    smooth = smoothed(np.maximum(smoothed(tight), tight)) + headwear.thickness
    loose = headwear.slack * (1 - smoothstep(0.1, 0.8, share)) * (headwear.kind == "cap")
    cuff = CUFF * smoothstep(0.74, 0.78, share) * (headwear.kind == "cap")
    points = (centre + directions * (smooth + (loose + cuff)[:, None])[..., None]).reshape(-1, 3)
    triangles = grid_triangles(RINGS, SPOKES, wrap_rows=False, wrap_columns=True)
    normals = vertex_normals(points, triangles)
    spokes = np.abs(azimuth / np.pi - 1) * 8  # there and back, so that the tile meets itself
    uv = np.stack(np.broadcast_arrays(spokes, 4 * share[:, None]), -1).reshape(-1, 2).astype(np.float32)
    return Shape(points, normals, uv, triangles)


def smoothed(grid: np.ndarray) -> np.ndarray:
    """A grid [RINGS,SPOKES] blurred along the spokes and around the rings."""
    along = gaussian_filter1d(grid, SMOOTHING, axis=0, mode="nearest")
    return gaussian_filter1d(along, SMOOTHING, axis=1, mode="wrap")


def distances(skin: Surface, centre: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How far the skin reaches from `centre` about `directions` [N,3], [N]."""
    offset = skin.seen - centre
    distance = np.linalg.norm(offset, axis=1)
    _, near = KDTree(offset / distance[:, None]).query(directions, k=NEIGHBOURS)
    return distance[near].max(1)
