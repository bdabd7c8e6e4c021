"""The mean ear of many heads, made from the sampler's assets: a distance on a lattice, and the shade of its folds.

Of MakeHuman's heads (CC0): ICT-FaceKit's modes, carried onto them, bend ears out of shape, and their licence asks for a
notice.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import trimesh
from scipy import ndimage
from scipy.spatial import KDTree

from tpn_engine.surface.ear_places import reach
from tpn_engine.surface.ear_shape import MIDDLE, EarShape, quadratic, within
from tpn_engine.surface.ears import AROUND
from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.heads.figure import make_figure
from tpn_engine.training.heads.parameters import sample_parameters
from tpn_engine.training.heads.transfer import light_transfer, occluder, unshadowed_transfer

# EG3D units. Where the head is kept of which the ear is a part, how fine, and the lattice above it.
LOW, HIGH, STEP = (0.06, -0.17, -0.36), (0.26, 0.20, -0.03), 0.003
FLAT_LOW, FLAT_HIGH = (-0.045, -0.132, -0.105), (0.063, 0.132, 0.105)
SAMPLES = 12  # along an edge of the skin's triangles
EXACT, FAR = 0.006, 0.02  # from the surface, up to which distances are to its tangents, which are smoother; and any
SUN_RAYS, OFF = 256, 0.002  # rays that tell how much light a place gets, and how far off the skin they start
NEAREST = 4  # places of the skin whose light is averaged


def mean_skin(assets: HeadAssets, seeds: range) -> np.ndarray:
    """The skin's points on average over the heads of `seeds` without ICT-FaceKit's modes, [P, 3] in EG3D units."""
    modes = replace(assets.modes, identity=0 * assets.modes.identity, mean=0 * assets.modes.mean)
    assets = replace(assets, modes=modes)
    total = np.zeros_like(assets.skin.rest)
    for seed in seeds:
        parameters = sample_parameters(assets, np.random.default_rng(seed))
        total += make_figure(assets, parameters.identity, parameters.expression).skin.points
    return total / len(seeds)


def mean_ear(skin: np.ndarray, triangles: np.ndarray) -> EarShape:
    """The left ear of a mean head's skin, [P, 3] in EG3D units and [T, 3]."""
    normals = trimesh.Trimesh(skin, triangles, process=False).vertex_normals
    axes = [np.arange(low, high + STEP / 2, STEP) for low, high in zip(LOW, HIGH, strict=True)]
    distance = _distance(skin, triangles, normals, axes)
    bent = _beneath(distance, axes)

    flat = [np.arange(low, high + STEP / 2, STEP) for low, high in zip(FLAT_LOW, FLAT_HIGH, strict=True)]
    out, up, forward = np.meshgrid(*flat, indexing="ij")
    there = np.stack([out + quadratic(up, forward) @ bent, up + MIDDLE[0], forward + MIDDLE[1]], axis=-1)

    index = np.moveaxis((there - LOW) / STEP, -1, 0)
    flattened = ndimage.map_coordinates(distance, index, order=1, mode="nearest")

    light = light_transfer([occluder(skin, triangles, 0.0)], skin, normals, directions=SUN_RAYS, offset=OFF)[:, 0]
    light /= unshadowed_transfer(normals)[:, 0]
    near = np.abs(flattened) < FAR
    away, nearest = KDTree(skin).query(there[near], k=NEAREST)
    weight = 1 / (away + STEP)
    around = np.ones(out.shape)
    around[near] = (light[nearest] * weight).sum(1) / weight.sum(1)
    open_skin = np.median(around[near & (np.abs(out) < STEP)])
    return EarShape(flattened, (around / open_skin).clip(0, 1), np.array(FLAT_LOW), STEP)


def _distance(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """Distance to a surface at all places of the axes, negative inside, [X, Y, Z]."""
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    corners = points[triangles]
    near = ((corners > np.array(LOW) - 0.02) & (corners < np.array(HIGH) + 0.02)).all((1, 2))
    steps = np.array([(i, j, SAMPLES - i - j) for i in range(SAMPLES + 1) for j in range(SAMPLES + 1 - i)]) / SAMPLES
    on_surface = np.einsum("kc,tcx->tkx", steps, corners[near]).reshape(-1, 3)
    their = np.einsum("kc,tcx->tkx", steps, normals[triangles[near]]).reshape(-1, 3)
    their /= np.linalg.norm(their, axis=1, keepdims=True)
    away, nearest = KDTree(on_surface).query(grid, distance_upper_bound=FAR)
    inside = trimesh.Trimesh(points, triangles, process=False).ray.contains_points(grid)
    close = away < EXACT
    distance = np.where(inside, -1, 1) * np.minimum(away, FAR)
    there = np.asarray(nearest)[close]
    tangent = ((grid[close] - on_surface[there]) * their[there]).sum(1)
    # Where two sides are near, the nearest tangent may be the other one's.
    distance[close] = np.where((tangent < 0) == inside[close], tangent, distance[close])
    return distance.reshape([len(axis) for axis in axes])


def _beneath(distance: np.ndarray, axes: list[np.ndarray]) -> np.ndarray:
    """The quadratic surface [6] of the head around its ear."""
    up, forward = np.meshgrid(axes[1] - MIDDLE[0], axes[2] - MIDDLE[1], indexing="ij")
    form, head = within(up, forward), reach(-distance, axes[0], 0.0)
    around = np.isfinite(head) & (form > AROUND[0]) & (form < AROUND[1])
    return np.linalg.lstsq(quadratic(up, forward)[around], head[around], rcond=None)[0]
