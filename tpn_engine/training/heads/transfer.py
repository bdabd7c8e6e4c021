"""How much light from where reaches each vertex: precomputed transfer, shadows by Embree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from tpn_engine.training.heads.geometry import fibonacci_sphere
from tpn_engine.training.heads.light import COSINE_LOBE, harmonics_basis

GRAZING = 0.02  # cosine below which a direction is left out


@dataclass(frozen=True)
class Occluder:
    """A mesh that lets the share `transmittance` of the light through."""

    scene: EmbreeScene
    transmittance: float


def occluder(vertices: np.ndarray, triangles: np.ndarray, transmittance: float) -> Occluder:
    """A mesh, vertices [V,3] and triangles [T,3], as something that casts shadows."""
    scene = EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(triangles, np.int32))
    return Occluder(scene, transmittance)


def unshadowed_transfer(normals: np.ndarray) -> np.ndarray:
    """The transfer where nothing stands in the way, [N,9]."""
    return harmonics_basis(normals) * COSINE_LOBE


def light_transfer(
    occluders: list[Occluder], positions: np.ndarray, normals: np.ndarray, *, directions: int, offset: float
) -> np.ndarray:
    """Shadowed, cosine-weighted transfer at `positions` [N,3] with unit `normals`, [N,9].

    Its product with a light's harmonics is the irradiance over pi (precomputed radiance transfer,
    Sloan et al. 2002). Rays go to `directions` points of a Fibonacci sphere and start `offset`
    units off the surface. Each vertex is scaled so that its unshadowed sum has the exact mean.
    """
    sphere = fibonacci_sphere(directions)
    basis = harmonics_basis(sphere) * (4 / directions)
    cosine = normals @ sphere.T
    cosine[cosine <= GRAZING] = 0
    exact = unshadowed_transfer(normals)[:, :1]
    scale = np.clip(exact / np.maximum(cosine @ basis[:, :1], 1e-3), 0.5, 2)

    vertex, direction = np.nonzero(cosine)
    starts = (positions + normals * offset).astype(np.float32)
    rays = sphere.astype(np.float32)
    for blocker in occluders:
        hit = blocker.scene.run(starts[vertex], rays[direction], query="OCCLUDED") >= 0
        cosine[vertex[hit], direction[hit]] *= blocker.transmittance
        if blocker.transmittance == 0:
            vertex, direction = vertex[~hit], direction[~hit]
    return (cosine @ basis) * scale
