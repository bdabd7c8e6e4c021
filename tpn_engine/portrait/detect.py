"""Finds faces and their five points: the MTCNN cascade."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tpn_engine.portrait.mtcnn import Mtcnn
from tpn_engine.portrait.weights import load_net

CELL = 12  # pixels a proposal looks at
STRIDE = 2  # pixels between proposals
MIN_FACE = 20.0  # pixels of the smallest face looked for
PYRAMID_FACTOR = 0.709
THRESHOLDS = (0.6, 0.7, 0.7)  # probabilities to pass the three networks
SURE = 0.9  # probability from which a detection counts as a face

# The points jump by some pixels with the size of the picture; on the aligned crop, where a face has
# a known size, they are averaged over these sizes and the mirror image.
CROP_SIZES = (512, 362)
CROP_MIN_FACE = 0.12  # of the crop's side
CROP_REACH = 0.12  # how far a point may move, of the crop's side
MIRRORED_POINTS = [1, 0, 2, 4, 3]


@dataclass(frozen=True)
class Face:
    """A detected face in pixels of the picture.

    `box` [4]: x0, y0, x1, y1. `points` [5, 2]: image-left eye, image-right eye, nose, image-left
    and image-right mouth corner, where whole numbers are pixel centres. `score` in [0, 1].
    """

    box: np.ndarray
    points: np.ndarray
    score: float

    @property
    def size(self) -> float:
        """Mean side of the box."""
        return float(np.mean(self.box[2:] - self.box[:2]))

    def scaled(self, factor: np.ndarray) -> Face:
        """The same face in a picture `factor` (x, y) times as large."""
        box = self.box * np.tile(factor, 2)
        return Face(box, (self.points + 0.5) * factor - 0.5, self.score)


class FaceDetector:
    """MTCNN with the settings of facenet-pytorch, which it matches to 0.03 pixels."""

    def __init__(self, device: torch.device) -> None:
        self._nets = load_net(Mtcnn(), "mtcnn", device)
        self._device = device

    @torch.inference_mode()
    def detect(self, picture: np.ndarray, min_face: float = MIN_FACE) -> list[Face]:
        """Faces in a picture [H, W, 3] uint8 from `min_face` pixels on, the largest first."""
        image = torch.from_numpy(np.array(picture)).to(self._device).float().permute(2, 0, 1)[None]
        boxes = self._propose(image, min_face)
        boxes = self._refine(image, boxes)
        boxes, points = self._output(image, boxes)
        faces = [Face(box[:4], found, float(box[4])) for box, found in zip(boxes, points, strict=True)]
        return sorted((face for face in faces if face.score > SURE), key=lambda face: -face.size)

    def steadied(self, crop: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Five points [5, 2] of the face on the aligned crop [512, 512, 3] in [0, 1], averaged over looks.

        `points`, in and out, in continuous crop pixels.
        """
        picture = Image.fromarray(np.round(crop * 255).clip(0, 255).astype(np.uint8))
        looks = []
        for size in CROP_SIZES:
            factor = size / picture.width
            sized = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS))
            looks.append(self._nearest(sized, points * factor) / factor)
            reflected = self._nearest(sized[:, ::-1], _mirrored(points * factor, size))
            looks.append(_mirrored(reflected, size) / factor)
        return np.mean(looks, axis=0)

    def _nearest(self, crop: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """The points of the face at `expected`; those, if it is not found again. Continuous pixels."""
        side = crop.shape[1]
        found = [face.points + 0.5 for face in self.detect(crop, CROP_MIN_FACE * side)]
        moved = [np.linalg.norm(points - expected, axis=1).max() for points in found]
        return found[int(np.argmin(moved))] if moved and min(moved) < CROP_REACH * side else expected

    def _propose(self, image: Tensor, min_face: float) -> np.ndarray:
        """P-Net over an image pyramid: candidate boxes [N, 5], the fifth the probability."""
        height, width = image.shape[2:]
        scale = CELL / min_face
        levels = [np.zeros((0, 9))]
        while min(height, width) * scale >= CELL:
            size = (int(height * scale + 1), int(width * scale + 1))
            probability, offsets = self._nets.proposal(_normalized(F.interpolate(image, size, mode="area")))
            levels.append(_proposals(probability[0].cpu().numpy(), offsets[0].cpu().numpy(), scale))
            scale *= PYRAMID_FACTOR
        found = np.concatenate(levels)
        found = found[suppress_overlaps(found[:, :4], found[:, 4], 0.7)]
        boxes = np.concatenate([found[:, :4], found[:, 4:5]], axis=1)
        return _squared(_moved(boxes, found[:, 5:], margin=0))

    def _refine(self, image: Tensor, boxes: np.ndarray) -> np.ndarray:
        """R-Net: fewer and better boxes [N, 5]."""
        boxes, candidates = _cut_candidates(image, boxes, 24)
        if not len(boxes):
            return boxes
        probability, offsets = (output.cpu().numpy() for output in self._nets.refine(candidates))
        boxes, offsets = _passed(THRESHOLDS[1], probability, boxes, offsets)
        keep = suppress_overlaps(boxes[:, :4], boxes[:, 4], 0.7)
        return _squared(_moved(boxes[keep], offsets[keep], margin=1))

    def _output(self, image: Tensor, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """O-Net: final boxes [N, 5] and their points [N, 5, 2]."""
        boxes, candidates = _cut_candidates(image, boxes, 48)
        if not len(boxes):
            return boxes, np.zeros((0, 5, 2))
        probability, offsets, points = (output.cpu().numpy() for output in self._nets.output(candidates))
        boxes, offsets, points = _passed(THRESHOLDS[2], probability, boxes, offsets, points)
        corners, sizes = boxes[:, :2], boxes[:, 2:4] - boxes[:, :2] + 1
        points = points.transpose(0, 2, 1) * sizes[:, None] + corners[:, None] - 1
        boxes = _moved(boxes, offsets, margin=1)
        keep = suppress_overlaps(boxes[:, :4], boxes[:, 4], 0.7, relative_to="smaller")
        return boxes[keep], points[keep]


def _mirrored(points: np.ndarray, width: float) -> np.ndarray:
    """Five points of the mirrored picture, continuous pixels."""
    return np.stack([width - points[:, 0], points[:, 1]], axis=1)[MIRRORED_POINTS]


def suppress_overlaps(
    boxes: np.ndarray, scores: np.ndarray, threshold: float, relative_to: Literal["union", "smaller"] = "union"
) -> np.ndarray:
    """Indices of boxes [N, 4] that no better box overlaps by more than `threshold` of the union
    (or of the smaller box); best first."""
    x0, y0, x1, y1 = boxes.T
    areas = (x1 - x0 + 1) * (y1 - y0 + 1)
    order = np.argsort(scores)[::-1]
    keep = []
    while len(order):
        best, rest = order[0], order[1:]
        keep.append(best)
        width = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest]) + 1
        height = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest]) + 1
        shared = width.clip(0) * height.clip(0)
        smaller = np.minimum(areas[best], areas[rest])
        whole = smaller if relative_to == "smaller" else areas[best] + areas[rest] - shared
        order = rest[shared / whole <= threshold]
    return np.array(keep, int)


def _proposals(probability: np.ndarray, offsets: np.ndarray, scale: float) -> np.ndarray:
    """Cells of one pyramid level over the threshold as [N, 9]: box, probability, four offsets."""
    y, x = np.nonzero(probability >= THRESHOLDS[0])
    near = np.stack([x, y], axis=1) * STRIDE + 1
    corners = np.floor(near / scale), np.floor((near + CELL - 1) / scale)
    found = np.concatenate([*corners, probability[y, x, None], offsets[:, y, x].T], axis=1)
    return found[suppress_overlaps(found[:, :4], found[:, 4], 0.5)]


def _passed(threshold: float, probability: np.ndarray, boxes: np.ndarray, *others: np.ndarray):
    """Rows over the threshold, with their new probability in the boxes' fifth column."""
    passed = probability > threshold
    boxes = np.concatenate([boxes[passed, :4], probability[passed, None]], axis=1)
    return boxes, *(other[passed] for other in others)


def _moved(boxes: np.ndarray, offsets: np.ndarray, margin: int) -> np.ndarray:
    """Boxes with their corners moved by offsets in box sizes."""
    sizes = boxes[:, 2:4] - boxes[:, :2] + margin
    return np.concatenate([boxes[:, :4] + offsets * np.tile(sizes, 2), boxes[:, 4:]], axis=1)


def _squared(boxes: np.ndarray) -> np.ndarray:
    """Squares with the boxes' centres and longer sides."""
    centers = (boxes[:, :2] + boxes[:, 2:4]) / 2
    halves = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1, keepdims=True, initial=0) / 2
    return np.concatenate([centers - halves, centers + halves, boxes[:, 4:]], axis=1)


def _cut_candidates(image: Tensor, boxes: np.ndarray, size: int) -> tuple[np.ndarray, Tensor]:
    """Boxes that touch the picture and what they show, [N, 3, size, size] in [-1, 1].

    Coordinates are truncated and counted from one, as the networks were trained.
    """
    height, width = image.shape[2:]
    corners = np.trunc(boxes[:, :4]).astype(int)
    x0, y0 = corners[:, 0].clip(min=1), corners[:, 1].clip(min=1)
    x1, y1 = corners[:, 2].clip(max=width), corners[:, 3].clip(max=height)
    inside = (x1 >= x0) & (y1 >= y0)
    cuts = [
        F.interpolate(image[:, :, top - 1 : bottom, left - 1 : right], (size, size), mode="area")
        for left, top, right, bottom in np.stack([x0, y0, x1, y1], axis=1)[inside]
    ]
    candidates = torch.cat(cuts) if cuts else image.new_zeros(0, 3, size, size)
    return boxes[inside], _normalized(candidates)


def _normalized(image: Tensor) -> Tensor:
    """[0, 255] to the networks' range, as they were trained: a hair short of [-1, 1]."""
    return (image - 127.5) * 0.0078125
