"""The source camera from landmarks: the pose of a standard head that explains them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tpn_engine.camera import FOCAL, RADIUS, Camera
from tpn_engine.portrait.align import CROP_SIZE
from tpn_engine.portrait.weights import canonical_face
from tpn_engine.standard_face import StandardFace

DEPTH_WEIGHT = 0.5  # of the landmarks' relative depth against their position in the picture
ROBUST_LIMIT = 1.5  # residuals above this many medians count linearly
ITERATIONS = 15


@dataclass(frozen=True)
class HeadPose:
    """How the head is seen, degrees, as in Camera.orbit: yaw > 0 is the camera to the subject's
    left, pitch > 0 the camera above, roll > 0 the head turned clockwise in the picture."""

    yaw: float
    pitch: float
    roll: float


def head_pose(camera: Camera) -> HeadPose:
    """Angles of a camera that looks at the head."""
    right, down, forward = camera.pose[:3, :3].T.astype(np.float64)
    yaw = math.degrees(math.atan2(-forward[0], -forward[2]))
    pitch = math.degrees(math.asin(float(np.clip(-forward[1], -1, 1))))
    roll = math.degrees(math.atan2(right[1], -down[1]))
    return HeadPose(yaw, pitch, roll)


def world_landmarks(face: StandardFace) -> np.ndarray:
    """The canonical face's 468 points in the world of a model where it stands so, [468, 3]."""
    points = canonical_face() @ rotation_matrix(np.array([face.tilt, 0, 0])).T
    return face.scale * points + [0, face.height, face.depth]


def fit_camera(landmarks: np.ndarray, face: StandardFace) -> Camera:
    """The source camera for landmarks [468, 3] in crop pixels, in the world where the standard face stands so.

    Robust Gauss-Newton over rotation and translation, on the reprojection of the canonical face and
    on the landmarks' relative depth, from a scaled-orthographic start. EG3D's labels have the camera
    at a fixed distance from the origin, so its position is scaled to that; the optical axis need not
    pass through the origin.
    """
    points = world_landmarks(face)
    image = landmarks[:, :2].astype(np.float64) - CROP_SIZE / 2
    depth = landmarks[:, 2].astype(np.float64)
    depth = depth - depth.mean()
    rotation, translation = _scaled_orthographic(points, image)
    for _ in range(ITERATIONS):
        residuals, jacobian = _residuals(points, rotation, translation, image, depth)
        error = np.linalg.norm(residuals, axis=1)
        weight = 1 / np.sqrt(np.maximum(1, error / (ROBUST_LIMIT * np.median(error))))
        step = np.linalg.lstsq(
            (jacobian * weight[:, None, None]).reshape(-1, 6), -(residuals * weight[:, None]).ravel(), rcond=None
        )[0]
        rotation = rotation_matrix(step[:3]) @ rotation
        translation = translation + step[3:]

    position = -rotation.T @ translation
    pose = np.eye(4)
    pose[:3, :3] = rotation.T
    pose[:3, 3] = position * RADIUS / np.linalg.norm(position)
    intrinsics = np.array([[FOCAL, 0, 0.5], [0, FOCAL, 0.5], [0, 0, 1]])
    return Camera(pose.astype(np.float32), intrinsics.astype(np.float32))


def rotation_matrix(vector: np.ndarray) -> np.ndarray:
    """Rodrigues: rotation by |vector| radians around the vector."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _scaled_orthographic(points: np.ndarray, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World to camera for points [N, 3] seen at image [N, 2] (pixels from the centre), without perspective."""
    centered = points - points.mean(axis=0)
    rows = np.linalg.lstsq(centered, image - image.mean(axis=0), rcond=None)[0].T
    scale = np.linalg.norm(rows, axis=1).mean()
    right, down = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    u, _, vt = np.linalg.svd(np.stack([right, down, np.cross(right, down)]))
    rotation = u @ vt
    distance = FOCAL * CROP_SIZE / scale
    middle = np.append(image.mean(axis=0) * distance / (FOCAL * CROP_SIZE), distance)
    return rotation, middle - rotation @ points.mean(axis=0)


def _residuals(
    points: np.ndarray, rotation: np.ndarray, translation: np.ndarray, image: np.ndarray, depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Residuals [N, 3] in pixels (x, y, weighted depth) and their Jacobian [N, 3, 6] (rotation, translation)."""
    focal = FOCAL * CROP_SIZE
    turned = points @ rotation.T
    local = turned + translation
    x, y, z = local.T
    pixels_per_unit = focal / z.mean()
    residuals = np.stack(
        [
            focal * x / z - image[:, 0],
            focal * y / z - image[:, 1],
            DEPTH_WEIGHT * ((z - z.mean()) * pixels_per_unit - depth),
        ],
        axis=1,
    )

    moves = np.zeros((len(points), 3, 6))  # of each point, by each parameter
    moves[:, :, :3] = np.cross(np.eye(3)[None], turned[:, None]).transpose(0, 2, 1)
    moves[:, :, 3:] = np.eye(3)
    dx, dy, dz = moves[:, 0], moves[:, 1], moves[:, 2]
    jacobian = np.stack(
        [
            focal * (dx / z[:, None] - (x / z**2)[:, None] * dz),
            focal * (dy / z[:, None] - (y / z**2)[:, None] * dz),
            DEPTH_WEIGHT * pixels_per_unit * (dz - dz.mean(axis=0)),
        ],
        axis=1,
    )
    return residuals, jacobian
