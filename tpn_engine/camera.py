"""Cameras in the convention of EG3D: camera to world, OpenCV axes, normalised intrinsics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FOCAL = 4.2647  # EG3D's FFHQ focal length, in image widths
RADIUS = 2.7  # distance of the camera from the world's origin, EG3D units
LOOK_AT = (0.0, 0.0, 0.2)  # EG3D's avg_camera_pivot for FFHQ

_HIGHEST = 1 - 2e-5 / np.pi  # sine of the steepest pitch: at the pole itself no direction is up (EG3D's bound)

_MIRROR_SIGN = np.ones((4, 4), np.float32)
for _row, _column in ((0, 1), (0, 2), (1, 0), (2, 0), (0, 3)):
    _MIRROR_SIGN[_row, _column] = -1.0


def focal_length(field_of_view: float) -> float:
    """EG3D's focal length, in image widths, of a field of view in degrees along the image's diagonal."""
    return float(1 / (np.tan(field_of_view * 3.14159 / 360) * 1.414))  # rounded as in EG3D, whose labels have it so


@dataclass(frozen=True)
class Camera:
    """A pinhole camera around the head.

    `pose` is the 4x4 camera-to-world matrix (x right, y down, z forward; EG3D units),
    `intrinsics` the 3x3 matrix in units of the image's width and height.
    """

    pose: np.ndarray
    intrinsics: np.ndarray

    @classmethod
    def from_label(cls, label: np.ndarray) -> Camera:
        """The camera of 25 numbers: the pose row by row, then the intrinsics."""
        label = np.asarray(label, np.float32).reshape(25)
        return cls(label[:16].reshape(4, 4).copy(), label[16:].reshape(3, 3).copy())

    @classmethod
    def orbit(
        cls,
        yaw: float,
        pitch: float,
        *,
        radius: float = RADIUS,
        look_at: tuple[float, float, float] = LOOK_AT,
        focal: float = FOCAL,
    ) -> Camera:
        """A camera on a sphere around the origin, aimed at `look_at`, without roll.

        Angles in degrees; yaw 0 is in front of the face, positive yaw moves the camera
        toward the subject's left (+x), positive pitch moves it up, at most to 0.2 degrees from the pole.
        """
        y, height = np.radians(yaw), np.clip(np.sin(np.radians(pitch)), -_HIGHEST, _HIGHEST)
        level = np.sqrt(1 - height**2)
        position = radius * np.array([np.sin(y) * level, height, np.cos(y) * level])
        forward = np.asarray(look_at, np.float64) - position
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
        pose[:3, 3] = position
        intrinsics = np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
        return cls(pose.astype(np.float32), intrinsics.astype(np.float32))

    @property
    def label(self) -> np.ndarray:
        """The 25 numbers of the camera label, float32."""
        return np.concatenate([self.pose.ravel(), self.intrinsics.ravel()]).astype(np.float32)

    @property
    def position(self) -> np.ndarray:
        """Where the camera is in the world, [3]."""
        return self.pose[:3, 3]

    def mirrored(self) -> Camera:
        """The camera that sees the mirrored world as this one sees the world."""
        return Camera(self.pose * _MIRROR_SIGN, self.intrinsics.copy())

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points [N, 3] to [N, 3]: u right and v down in [0, 1] inside the image, depth along z."""
        local = (np.asarray(points, np.float64) - self.pose[:3, 3]) @ self.pose[:3, :3]
        image = local @ self.intrinsics.astype(np.float64).T
        return np.concatenate([image[:, :2] / image[:, 2:], local[:, 2:]], axis=1)

    def unproject(self, places: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """The world points [N, 3] that are seen at places [N, 2] (u, v) with depths [N] along z."""
        image = np.concatenate([places, np.ones((len(places), 1))], axis=1) * np.asarray(depth)[:, None]
        local = image @ np.linalg.inv(self.intrinsics.astype(np.float64)).T
        return local @ self.pose[:3, :3].T + self.pose[:3, 3]

    def across(self, moves: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """How far points [N, 3] with depths [N, 1] along z move across the view for moves [N, 2] in picture widths."""
        return moves * depth / self.intrinsics.diagonal()[:2] @ self.pose[:3, :2].T
