"""468 landmarks on the aligned crop."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.portrait.face_landmarks import INPUT_SIZE, FaceLandmarkNet
from tpn_engine.portrait.pose import world_landmarks
from tpn_engine.portrait.weights import canonical_face, load_net
from tpn_engine.standard_face import StandardFace

RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners of the subject's eyes
PRESENCE = 0.5  # of a face, below which there is none
REGION_SCALE = 1.5  # the region the net sees, in extents of the landmarks
AVERAGED_SCALES = (1.35, 1.5, 1.7)
FIVE_POINT_EXTENT = 2.6  # extent of the landmarks in distances from the eyes to the mouth


@dataclass(frozen=True)
class Region:
    """A square of the crop turned to the eye line: centre and side in pixels, angle in radians."""

    center: np.ndarray
    extent: float
    angle: float

    @classmethod
    def around(cls, landmarks: np.ndarray) -> Region:
        """The region that holds landmarks [468, 3]."""
        eyes = landmarks[LEFT_EYE, :2] - landmarks[RIGHT_EYE, :2]
        angle = math.atan2(eyes[1], eyes[0])
        rotation = _rotation(angle)
        level = landmarks[:, :2] @ rotation
        low, high = level.min(axis=0), level.max(axis=0)
        return cls(rotation @ ((low + high) / 2), float((high - low).max()), angle)

    @classmethod
    def expected(cls, camera: Camera, face: StandardFace, size: int) -> Region:
        """Where a camera that looks at a head has the face, in a picture of `size` x `size` pixels."""
        return cls.around(camera.project(world_landmarks(face)) * [size, size, 0])

    @classmethod
    def around_points(cls, points: np.ndarray) -> Region:
        """A first guess from the detector's five points [5, 2]."""
        length = np.linalg.norm(points[:2].mean(axis=0) - points[3:].mean(axis=0))
        return cls(points.mean(axis=0), FIVE_POINT_EXTENT * max(float(length), 50.0), math.radians(roll(points)))


def eye_distance(landmarks: np.ndarray) -> float:
    """How far apart the outer corners of the eyes are, in the unit of the landmarks [468, 2 or 3]."""
    return float(np.linalg.norm(landmarks[LEFT_EYE, :2] - landmarks[RIGHT_EYE, :2]))


def roll(points: np.ndarray) -> float:
    """How far a face is turned clockwise in the picture, degrees, from its five points [5, 2]."""
    eyes = points[1] - points[0]
    down = (points[3] + points[4]) / 2 - (points[0] + points[1]) / 2
    across = np.array([down[1], -down[0]])
    direction = eyes / np.linalg.norm(eyes) + across / np.linalg.norm(across)
    return math.degrees(math.atan2(direction[1], direction[0]))


class FaceLandmarker:
    """MediaPipe's face mesh, steadied by looking twice and averaging over scales and the mirror image."""

    def __init__(self, device: torch.device) -> None:
        self._net = load_net(FaceLandmarkNet(), "face_landmarks", device)
        self._device = device
        self._mirror = mirrored_indices()

    @torch.inference_mode()
    def presence(self, crop: np.ndarray, points: np.ndarray) -> float:
        """How sure the net is that the five points [5, 2] of the crop lie on a face, [0, 1]."""
        image = self._to_tensor(crop)
        region = Region.around_points(points)
        landmarks, _ = self._look(image, region, REGION_SCALE)
        _, presence = self._look(image, Region.around(landmarks), REGION_SCALE)
        return presence

    @torch.inference_mode()
    def landmarks(self, crop: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """Landmarks [468, 3] in continuous crop pixels and the presence of a face in [0, 1].

        `crop` is [H, W, 3] float32 in [0, 1], `region` about where the face is. z is relative, in
        pixels, smaller nearer to the camera.
        """
        image = self._to_tensor(crop)
        presence = 0.0
        for _ in range(2):
            found, presence = self._look(image, region, REGION_SCALE)
            region = Region.around(found)

        width = image.shape[3]
        mirrored = Region(np.array([width - region.center[0], region.center[1]]), region.extent, -region.angle)
        looks = []
        for scale in AVERAGED_SCALES:
            looks.append(self._look(image, region, scale)[0])
            reflection = self._look(image.flip(3), mirrored, scale)[0][self._mirror]
            looks.append(reflection * [-1, 1, 1] + [width, 0, 0])
        return np.mean(looks, axis=0).astype(np.float32), presence

    def _to_tensor(self, crop: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(crop)).to(self._device).permute(2, 0, 1)[None]

    def look(self, image: Tensor, region: Region, scale: float = REGION_SCALE) -> tuple[Tensor, Tensor]:
        """One pass of the net over a region of the image [1, 3, H, W], with gradients.

        Landmarks [468, 3] in continuous pixels of the image, and the presence of a face in [0, 1].
        """
        pixel = region.extent * scale / INPUT_SIZE
        rotation = _rotation(region.angle) * pixel
        axis = np.arange(INPUT_SIZE) + 0.5 - INPUT_SIZE / 2
        offsets = np.stack(np.meshgrid(axis, axis), axis=-1)
        positions = region.center + offsets @ rotation.T
        grid = (positions / [image.shape[3], image.shape[2]] * 2 - 1).astype(np.float32)
        grid = torch.from_numpy(grid)[None].to(image.device)
        face = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        landmarks, presence = self._net(face)
        flat = (landmarks[0, :, :2] - INPUT_SIZE / 2) @ landmarks.new_tensor(rotation.T)
        in_image = flat + landmarks.new_tensor(region.center)
        return torch.cat([in_image, landmarks[0, :, 2:] * pixel], dim=1), presence[0].sigmoid()

    def _look(self, image: Tensor, region: Region, scale: float) -> tuple[np.ndarray, float]:
        landmarks, presence = self.look(image, region, scale)
        return landmarks.cpu().numpy().astype(np.float64), presence.item()


def mirrored_indices() -> np.ndarray:
    """For each landmark, the index of its mirror image, [468]."""
    points = canonical_face()
    distances = np.linalg.norm(points[:, None] * [-1, 1, 1] - points[None], axis=2)
    return distances.argmin(axis=1)


def _rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
