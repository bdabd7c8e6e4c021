"""Who is the person and what is the background, to the width of a hair."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull
from torch import Tensor

from tpn_engine.portrait.segmentation import INPUT_SIZE, SegmentationNet
from tpn_engine.portrait.weights import load_net

SURROUNDINGS = 1.5  # what the net sees, in sides of the crop: with the shoulders it errs less
GUIDE_RADIUS = 4  # pixels of the net's picture over which the matte follows the colours
GUIDE_SMOOTHNESS = 1e-4  # colour variance under which an area counts as flat
CONTRAST = 0.1  # values this near to 0 and 1 are taken to them
OUTSIDE_FADE = 48.0  # crop pixels beyond the photo's edge at which the matte has ended


class Matter:
    """MediaPipe's selfie segmentation, refined to the crop's own edges."""

    def __init__(self, device: torch.device) -> None:
        self._net = load_net(SegmentationNet(), "selfie_segmentation", device)
        self._device = device

    @torch.inference_mode()
    def matte(self, crop: np.ndarray, surroundings: np.ndarray, shown: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        """Matte [512, 512] float32 in [0, 1] of the person whose face carries the landmarks.

        `crop` [512, 512, 3] in [0, 1]; `surroundings` the same, of a window SURROUNDINGS as wide;
        `shown` [512, 512] is 1 where the photo shows the crop: beyond its edge the matte fades out.
        """
        wide = self._to_tensor(surroundings)
        size = (INPUT_SIZE, INPUT_SIZE)
        wide = F.interpolate(wide, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
        person = (self._net(wide) + self._net(wide.flip(3)).flip(2)) / 2
        person = follow_edges(person[None], wide, self._to_tensor(crop))[0, 0].cpu().numpy()
        person = ((person - CONTRAST) / (1 - 2 * CONTRAST)).clip(0, 1)
        beyond = np.asarray(ndimage.distance_transform_edt(shown < 0.5))
        fade = (1 - beyond / OUTSIDE_FADE).clip(0, 1)
        return (person * around_face(person, landmarks) * fade).astype(np.float32)

    def _to_tensor(self, image: np.ndarray) -> Tensor:
        return torch.from_numpy(image).to(self._device).permute(2, 0, 1)[None]


def follow_edges(matte: Tensor, guide: Tensor, crop: Tensor) -> Tensor:
    """The matte [1, 1, h, w] of the surroundings on the crop [1, 3, H, W], along the crop's edges.

    Fast guided filter (He and Sun, 2015): around each pixel the matte is a linear function of the
    colour of `guide` [1, 3, h, w], the surroundings in the matte's size. Values in [0, 1].
    """
    color, person = guide.double(), matte.double()
    pairs = (color[:, :, None] * color[:, None]).flatten(1, 2)
    mean_color, mean_person, mean_pairs, mean_both = _box_means(color, person, pairs, color * person)
    covariance = mean_pairs - (mean_color[:, :, None] * mean_color[:, None]).flatten(1, 2)
    covariance = covariance.permute(0, 2, 3, 1).unflatten(3, (3, 3))
    covariance = covariance + GUIDE_SMOOTHNESS * torch.eye(3, dtype=color.dtype, device=color.device)
    shared = (mean_both - mean_color * mean_person).permute(0, 2, 3, 1)
    slope = torch.linalg.solve(covariance, shared).permute(0, 3, 1, 2)
    offset = mean_person - (slope * mean_color).sum(dim=1, keepdim=True)
    slope, offset = (_crop_part(mean, crop.shape[3]) for mean in _box_means(slope, offset))
    return ((slope * crop).sum(dim=1, keepdim=True) + offset).clamp(0, 1).float()


def _crop_part(surroundings: Tensor, size: int) -> Tensor:
    """What of an image of the surroundings lies in the crop, enlarged to the crop's size."""
    full = round(size * SURROUNDINGS)
    enlarged = F.interpolate(surroundings, (full, full), mode="bilinear", align_corners=False)
    start = (full - size) // 2
    return enlarged[:, :, start : start + size, start : start + size]


def _box_means(*images: Tensor) -> list[Tensor]:
    """Means over the guide's window, of what of it lies inside the picture."""
    size, padding = 2 * GUIDE_RADIUS + 1, GUIDE_RADIUS
    return [F.avg_pool2d(image, size, 1, padding, count_include_pad=False) for image in images]


def around_face(matte: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """1 where a matte [H, W] belongs to the person of the landmarks, 0 on other people.

    The connected parts that touch the face are kept; all of it, if none does.
    """
    height, width = matte.shape
    face = Image.new("1", (width, height))
    outline = landmarks[ConvexHull(landmarks[:, :2]).vertices, :2]
    ImageDraw.Draw(face).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    parts = np.zeros(matte.shape, np.int32)
    ndimage.label(matte > 0.02, output=parts)
    touched = np.unique(parts[np.asarray(face) & (matte > 0.5)])
    return np.isin(parts, touched) if len(touched) else np.ones(matte.shape, bool)
