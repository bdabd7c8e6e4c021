"""Who is the person and what is the background, to the width of a hair."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull
from torch import Tensor

from tpn_engine.portrait.align import CROP_SIZE, CropWindow, cut_crop
from tpn_engine.portrait.portrait import Surroundings
from tpn_engine.portrait.segmentation import INPUT_SIZE, SegmentationNet
from tpn_engine.portrait.weights import load_net

SURROUNDINGS = 1.5  # what the net best sees, in sides of the crop: with the shoulders it errs less
ENOUGH_KNOWN = 0.6  # part of that which the photo must show; else the net sees the crop alone
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
    def matte(
        self, photo: Image.Image, window: CropWindow, landmarks: np.ndarray
    ) -> tuple[np.ndarray, Surroundings | None]:
        """Matte [512, 512] float32 in [0, 1] of the person whose face carries the landmarks [468, 3].

        Made for the aligned crop that `window` cuts from the photo; fades out beyond the photo's edge. With the
        crop's surroundings, unless the photo shows little of them.
        """
        crop, shown = cut_crop(photo, window)
        size = round(SURROUNDINGS * CROP_SIZE)
        wide, known = cut_crop(photo, window.widened(SURROUNDINGS), size)
        if known.mean() < ENOUGH_KNOWN:
            person = follow_edges(*guided(*self._person(crop)), _to_tensor(crop), 1.0)
            return _own(person, shown, landmarks), None
        lines = guided(*self._person(wide))
        margin = np.array([(size - CROP_SIZE) / 2] * 2 + [0])
        around = _own(follow_edges(*lines, _to_tensor(wide), 1.0), known, landmarks + margin)
        person = follow_edges(*lines, _to_tensor(crop), SURROUNDINGS)
        return _own(person, shown, landmarks), Surroundings(wide, around, known > 0.5, SURROUNDINGS)

    def _person(self, picture: np.ndarray) -> tuple[Tensor, Tensor]:
        """The net's matte [1, 1, 256, 256] of a picture and of its mirror image, and what it saw [1, 3, 256, 256]."""
        size = (INPUT_SIZE, INPUT_SIZE)
        seen = F.interpolate(_to_tensor(picture), size, mode="bilinear", antialias=True, align_corners=False)
        both = self._net(torch.cat([seen, seen.flip(3)]).to(self._device)).cpu()
        return ((both[:1] + both[1:].flip(2)) / 2)[None], seen


def _own(person: Tensor, shown: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The crisp matte [S, S] of the one with the landmarks, fading beyond what is `shown` [S, S] of the photo."""
    matte = ((person[0, 0].numpy() - CONTRAST) / (1 - 2 * CONTRAST)).clip(0, 1)
    beyond = np.asarray(ndimage.distance_transform_edt(shown < 0.5))
    fade = (1 - beyond / OUTSIDE_FADE).clip(0, 1)
    return (matte * around_face(matte, landmarks) * fade).astype(np.float32)


def _to_tensor(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None]


def guided(matte: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """The matte [1, 1, h, w] around each pixel as a linear function of the colour of `guide` [1, 3, h, w], in [0, 1].

    Slopes [1, 3, h, w] and offsets [1, 1, h, w] of a fast guided filter (He and Sun, 2015).
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
    slope, offset = _box_means(slope, offset)
    return slope, offset


def follow_edges(slope: Tensor, offset: Tensor, crop: Tensor, zoom: float) -> Tensor:
    """The matte [1, 1, H, W] that follows the edges of `crop` [1, 3, H, W], in [0, 1].

    `slope` and `offset` are of the crop's surroundings, `zoom` as wide, as `guided` has them.
    """
    slope, offset = (_crop_part(part, crop.shape[3], zoom) for part in (slope, offset))
    return ((slope * crop).sum(dim=1, keepdim=True) + offset).clamp(0, 1).float()


def _crop_part(surroundings: Tensor, size: int, zoom: float) -> Tensor:
    """What of an image of the surroundings lies in the crop, enlarged to the crop's size."""
    full = round(size * zoom)
    enlarged = F.interpolate(surroundings, (full, full), mode="bilinear", align_corners=False)
    start = (full - size) // 2
    return enlarged[:, :, start : start + size, start : start + size]


def _box_means(*images: Tensor) -> list[Tensor]:
    """Means over the guide's window, of what of it lies inside the picture."""
    size, padding = 2 * GUIDE_RADIUS + 1, GUIDE_RADIUS
    return [F.avg_pool2d(image, size, 1, padding, count_include_pad=False) for image in images]


def around_face(matte: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """1 where a matte [H, W] belongs to the person of the landmarks, 0 on other people.

    Connected parts that touch the face are that person's, soft edges belong to the nearest part.
    People whose outlines touch are not told apart.
    """
    height, width = matte.shape
    face = Image.new("1", (width, height))
    outline = landmarks[ConvexHull(landmarks[:, :2]).vertices, :2]
    ImageDraw.Draw(face).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    parts = np.zeros(matte.shape, np.int32)
    ndimage.label(matte > 0.5, output=parts)
    touched = np.unique(parts[np.asarray(face) & (parts > 0)])
    own = np.isin(parts, touched)
    others = (parts > 0) & ~own
    if not own.any() or not others.any():
        return np.ones(matte.shape, bool)
    to_own, to_others = (np.asarray(ndimage.distance_transform_edt(~part)) for part in (own, others))
    return to_own < to_others
