# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the engine's world to Blender's: axes, lengths and colours.

The engine's world is EG3D's: x the subject's left, y up, z toward the viewer. In Blender the head
stands on +Z and faces -Y, and one engine unit is 0.37 m, the size of an adult head.
"""

from __future__ import annotations

import numpy as np

METRES_PER_UNIT = 0.37

_TO_BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_OPENCV_TO_BLENDER_CAMERA = np.diag([1.0, -1.0, -1.0])


def blender_points(points: np.ndarray) -> np.ndarray:
    """Engine world points [N, 3] in EG3D units to Blender world points [N, 3] in metres."""
    return np.asarray(points) @ _TO_BLENDER.T.astype(points.dtype) * METRES_PER_UNIT


def blender_pose(pose: np.ndarray) -> np.ndarray:
    """Camera-to-world 4x4 with OpenCV axes in EG3D units to Blender's object matrix 4x4 in metres."""
    matrix = np.eye(4)
    matrix[:3, :3] = _TO_BLENDER @ pose[:3, :3] @ _OPENCV_TO_BLENDER_CAMERA
    matrix[:3, 3] = _TO_BLENDER @ pose[:3, 3] * METRES_PER_UNIT
    return matrix


def linear_colors(colors: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] to linear light, the transfer function of IEC 61966-2-1."""
    return np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
