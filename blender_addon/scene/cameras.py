# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The source camera of the portrait and the ring of cameras around the head."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix  # pyright: ignore[reportMissingModuleSource]

from .space import METRES_PER_UNIT, blender_points, blender_pose

SENSOR_MM = 36.0
FOCAL = 4.2647  # EG3D's focal length for portraits, in image widths
MARGIN = 0.06  # of the picture left free at each side of the head


@dataclass(frozen=True)
class CameraLabel:
    """The 25 numbers of a camera: `pose` camera to world 4x4 (OpenCV axes), `intrinsics` 3x3.

    Raises ValueError for what a Blender camera can't be: skewed, or with unequal focal lengths.
    """

    pose: np.ndarray
    intrinsics: np.ndarray

    def __post_init__(self) -> None:
        skew, (fx, fy) = self.intrinsics[0, 1], np.diag(self.intrinsics)[:2]
        if not fx > 0 or abs(fx - fy) > 1e-4 * fx or abs(skew) > 1e-4 * fx:
            raise ValueError("The camera label is not that of a camera with square pixels.")

    @classmethod
    def from_numbers(cls, numbers: np.ndarray) -> CameraLabel:
        """The pose row by row, then the intrinsics."""
        numbers = np.asarray(numbers, np.float64).ravel()
        if numbers.shape != (25,) or not np.isfinite(numbers).all():
            raise ValueError("A camera label has 25 finite numbers.")
        return cls(numbers[:16].reshape(4, 4), numbers[16:].reshape(3, 3))


@dataclass(frozen=True)
class Framing:
    """The circle from which a camera sees the whole head: Blender metres."""

    center: tuple[float, float, float]
    distance: float


def create_source_camera(name: str, label: CameraLabel, crop: bpy.types.Image) -> bpy.types.Object:
    """The portrait's camera, with the aligned crop behind the head.

    A square picture, and the height of a wide one, shows exactly the crop.
    """
    camera = _create_camera(name, label.intrinsics[0, 0])
    data = camera.data
    # Blender's shift moves the frame, the label's centre the picture in it; v counts downward.
    data.shift_x = 0.5 - label.intrinsics[0, 2]
    data.shift_y = label.intrinsics[1, 2] - 0.5
    data.show_background_images = True
    background = data.background_images.new()
    background.image = crop
    background.alpha = 1.0
    background.display_depth = "BACK"
    background.frame_method = "FIT"
    camera.matrix_basis = Matrix(blender_pose(label.pose).tolist())
    return camera


def load_crop(name: str, path: str | os.PathLike[str]) -> bpy.types.Image:
    """The aligned crop as an image inside the .blend file. Raises ValueError if it can't be read."""
    try:
        image = bpy.data.images.load(os.fspath(path), check_existing=False)
    except RuntimeError as error:
        raise ValueError(f"The aligned crop {os.fspath(path)} can't be read.") from error
    if 0 in image.size:  # Blender makes an empty image of any file it can't decode
        bpy.data.images.remove(image)
        raise ValueError(f"The aligned crop {os.fspath(path)} is not a picture.")
    image.name = name
    image.pack()
    return image


def frame_head(vertices: np.ndarray) -> Framing:
    """The circle around `vertices` [N, 3] (engine units) which keeps all of them in a square picture."""
    points = blender_points(vertices.astype(np.float64))
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    local = points - center
    radius = np.hypot(local[:, 0], local[:, 1])
    half_view = (0.5 - MARGIN) / FOCAL  # tangent of the usable half angle
    # Turning once, a point draws a circle: it is highest in the picture where it is nearest, and
    # widest where the line of sight touches the circle.
    for_height = radius + np.abs(local[:, 2]) / half_view
    for_width = np.hypot(radius, radius / half_view)
    x, y, z = (float(value) for value in center)
    return Framing((x, y, z), float(max(for_height.max(), for_width.max())))


def create_ring(name: str, framing: Framing, count: int) -> list[bpy.types.Object]:
    """`count` cameras at equal steps around the head, from the face toward the subject's left."""
    ring = []
    for index in range(count):
        degrees = 360 * index / count
        camera = _create_camera(f"{name} {degrees:03.0f}°", FOCAL)
        camera.matrix_basis = around(framing, math.radians(degrees))
        ring.append(camera)
    return ring


def create_orbit_camera(name: str, framing: Framing) -> bpy.types.Object:
    """The camera of the orbit, in the space of its pivot in the middle of the head."""
    camera = _create_camera(name, FOCAL)
    camera.matrix_basis = around(Framing((0.0, 0.0, 0.0), framing.distance), 0.0)
    return camera


def around(framing: Framing, angle: float) -> Matrix:
    """The level camera on the circle, `angle` radians from the face toward the subject's left."""
    upright = Matrix.Rotation(math.pi / 2, 4, "X")  # Blender's cameras look down; this one ahead, along +Y
    at_front = Matrix.Translation((0.0, -framing.distance, 0.0)) @ upright
    return Matrix.Translation(framing.center) @ Matrix.Rotation(angle, 4, "Z") @ at_front


def _create_camera(name: str, focal: float) -> bpy.types.Object:
    data = bpy.data.cameras.new(name)
    # Fitted to the height: in a wide picture, Blender's default, the whole head stays in view.
    data.sensor_fit = "VERTICAL"
    data.sensor_width = data.sensor_height = SENSOR_MM
    data.lens = focal * SENSOR_MM
    data.clip_start, data.clip_end = 0.01, 100.0
    data.display_size = 0.3 * METRES_PER_UNIT
    return bpy.data.objects.new(name, data)
