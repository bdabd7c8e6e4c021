"""How far the photo can be believed at each point of the surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from tpn_engine.camera import Camera
from tpn_engine.surface.raster import rasterize

RASTER_SIZE = 256  # pixels of the depth picture along the crop's edge: about the spacing of a 256^3 lattice's vertices
DEPTH_JUMP = 0.03  # EG3D units between neighbouring pixels that mean an edge: 1 cm
DEPTH_TOLERANCE = 0.006  # of a visible point, on top of the surface's slope
STEEPEST = 6.0  # slope beyond which a point is not seen anyway
# Confidence rises from 0 to 1 between the first number and the second.
FACING = (0.2, 0.5)  # cosine between the normal and the way to the camera: 78 and 60 degrees
FROM_SILHOUETTE = (0.006, 0.02)  # widths of the crop: 3 and 10 pixels
FROM_MATTE_EDGE = (0.006, 0.025)
MIRRORED_DEPTH = (0.01, 0.03)  # EG3D units off the mirrored surface


def rise(values: np.ndarray, between: tuple[float, float]) -> np.ndarray:
    """0 below the first number, 1 above the second, smooth between."""
    share = ((values - between[0]) / (between[1] - between[0])).clip(0, 1)
    return share * share * (3 - 2 * share)


def sample(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A picture [H, W] or [H, W, C] between its pixels at places [N, 2] (u, v in [0, 1]), its edge repeated."""
    height, width = picture.shape[:2]
    at = (places[:, ::-1] * (height, width) - 0.5).T
    layers = picture.reshape(height, width, -1)
    sampled = [
        ndimage.map_coordinates(layers[..., layer], at, order=1, mode="nearest") for layer in range(layers.shape[2])
    ]
    return np.stack(sampled, axis=-1).reshape(len(places), *picture.shape[2:])


def facing(vertices: np.ndarray, normals: np.ndarray, camera: Camera) -> np.ndarray:
    """Cosine of the angle between each normal and the way to the camera, [N]."""
    toward = camera.position - vertices
    return (toward * normals).sum(1) / np.linalg.norm(toward, axis=1)


@dataclass(frozen=True)
class Sight:
    """What the source camera sees of a mesh.

    `depth` [S, S] of the nearest surface, infinite beside it; `clear` [S, S] in [0, 1]: 1 inside the
    person and away from every edge over which hair, background or a nearer part may reach.
    """

    camera: Camera
    depth: np.ndarray
    clear: np.ndarray

    @classmethod
    def of(
        cls, vertices: np.ndarray, triangles: np.ndarray, camera: Camera, matte: np.ndarray, widths: float = 1.0
    ) -> Sight:
        """`matte` [H, W] in [0, 1] is the person in the picture of `camera`, `widths` crops wide."""
        size = round(RASTER_SIZE * widths)
        depth = rasterize(vertices, triangles, camera, size).depth
        filled = np.where(np.isfinite(depth), depth, depth[np.isfinite(depth)].max(initial=0) + 1)
        jump = ndimage.maximum_filter(filled, 3) - ndimage.minimum_filter(filled, 3)
        edge = jump > DEPTH_JUMP
        clear = rise(
            np.asarray(ndimage.distance_transform_edt(_framed(~edge)))[1:-1, 1:-1] * (widths / size), FROM_SILHOUETTE
        )
        inside = np.asarray(ndimage.distance_transform_edt(_framed(matte > 0.9)))[1:-1, 1:-1] * (widths / len(matte))
        centres = (np.indices((size, size))[::-1].reshape(2, -1).T + 0.5) / size
        clear = clear * rise(sample(inside, centres), FROM_MATTE_EDGE).reshape(size, size)
        return cls(camera, depth, clear)

    def confidence(self, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """How far the photo's pixels are those of the mesh's own vertices, [N] in [0, 1]."""
        projected = self.camera.project(vertices)
        cosine = facing(vertices, normals, self.camera)
        pixel = projected[:, 2] / (self.camera.intrinsics[0, 0] * len(self.depth))
        slope = np.minimum(np.sqrt(1 / np.maximum(cosine, 1e-3) ** 2 - 1), STEEPEST)
        visible = projected[:, 2] < self._surface_depth(projected) + DEPTH_TOLERANCE + pixel * slope
        return visible * rise(cosine, FACING) * self._clear_at(projected)

    def mirrored_confidence(self, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """The same for the mirror image of the vertices, which need not lie on the surface, [N] in [0, 1]."""
        vertices, normals = vertices * (-1, 1, 1), normals * (-1, 1, 1)
        projected = self.camera.project(vertices)
        off = np.abs(projected[:, 2] - self._surface_depth(projected))
        close = 1 - rise(np.where(np.isfinite(off), off, np.inf), MIRRORED_DEPTH)
        return close * rise(facing(vertices, normals, self.camera), FACING) * self._clear_at(projected)

    def _clear_at(self, projected: np.ndarray) -> np.ndarray:
        within = ((projected[:, :2] > 0) & (projected[:, :2] < 1)).all(1)
        return sample(self.clear, projected[:, :2]) * within

    def _surface_depth(self, projected: np.ndarray) -> np.ndarray:
        """Depth of the surface at the pixel of each projected point."""
        size = len(self.depth)
        column, row = (projected[:, :2] * size).astype(np.int64).clip(0, size - 1).T
        return self.depth[row, column]


def _framed(inside: np.ndarray) -> np.ndarray:
    """With a frame of False: beyond the picture nothing is known."""
    return np.pad(inside, 1)
