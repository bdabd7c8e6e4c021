"""What a photo's matte says of the space: beside the person there is nothing (visual hull, Laurentini 1994)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage, special
from torch import Tensor
from torch.nn import functional as F

FARTHEST = 0.065  # widths of the crop, up to which distances from the outline are kept
SMOOTHING = 1 / 192  # widths of the crop, standard deviation: every strand would become a ridge along the view
CLOSE = 2.5  # standard deviations from the outline within which the smoothed matte tells the distance
STEEPNESS = 1e6  # density per EG3D unit: as steep as the embedded model's surfaces


@dataclass(frozen=True)
class Silhouette:
    """The outline of a person in a photo, as a bound of the density.

    `distance` [1, 1, S, S] in widths of the aligned crop, positive inside the person. Beyond the picture, which is
    `widths` crops wide, nothing is bounded. `label` [25] is the picture's camera, `level` the iso-level.
    """

    distance: Tensor
    label: Tensor
    level: float
    widths: float = 1.0

    @classmethod
    def of(cls, matte: np.ndarray, label: Tensor, level: float, widths: float = 1.0) -> Silhouette:
        """From a matte [S, S] in [0, 1] and a camera label [25]; it is on the label's device."""
        crop_size = len(matte) / widths
        deviation = SMOOTHING * crop_size
        # A straight edge smoothed is the normal distribution: its quantiles are the distance, to a part of a pixel.
        smooth = ndimage.gaussian_filter(matte.astype(np.float64), deviation, mode="nearest")
        close = deviation * special.ndtri(smooth)
        person = smooth > 0.5
        reach = FARTHEST * crop_size
        away = np.where(person, _away(person), _away(~person)).clip(CLOSE * deviation, reach)
        pixels = np.where(np.abs(close) < CLOSE * deviation, close, np.where(person, away, -away))
        distance = torch.from_numpy((pixels / crop_size).astype(np.float32)).to(label.device)[None, None]
        return cls(distance, label, level, widths)

    @property
    def crop_size(self) -> float:
        """Pixels along the crop's edge."""
        return self.distance.shape[-1] / self.widths

    def bound(self, points: Tensor) -> Tensor:
        """The greatest density that points [..., 3] may have, [...]: the level on the outline's rays.

        Infinite where the photo doesn't look.
        """
        flat = points.reshape(-1, 3)
        pose, intrinsics = self.label[:16].view(4, 4), self.label[16:].view(3, 3)
        image = (flat - pose[:3, 3]) @ (pose[:3, :3] @ intrinsics.T)
        depth = image[:, 2].clamp(min=1e-3)
        places = image[:, :2] / depth[:, None] * 2 - 1
        distance = F.grid_sample(self.distance, places[None, None], padding_mode="border", align_corners=False)
        across = distance[0, 0, 0] * depth / (intrinsics[0, 0] * self.widths)
        framed = (places.abs() <= 1).all(-1)
        bound = torch.where(framed, self.level + STEEPNESS * across, torch.inf)
        return bound.view(points.shape[:-1])

    def smoothed(self, deviation: float) -> Silhouette:
        """With an outline smoothed by this standard deviation, in crop widths: less detail and fewer ridges."""
        distance = self.distance[0, 0].cpu().numpy()
        smooth = ndimage.gaussian_filter(distance, deviation * self.crop_size, mode="nearest")
        return replace(self, distance=torch.from_numpy(smooth).to(self.distance.device)[None, None])

    def wider(self, widths: float) -> Silhouette:
        """With an outline so many crop widths farther out."""
        return replace(self, distance=self.distance + widths)

    def to(self, device: torch.device | str) -> Silhouette:
        """The same on another device."""
        return replace(self, distance=self.distance.to(device), label=self.label.to(device))


def _away(inside: np.ndarray) -> np.ndarray:
    """Pixels from each place of a mask [S, S] to the nearest outside it, infinite where there is none."""
    if inside.all():
        return np.full(inside.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(inside))
