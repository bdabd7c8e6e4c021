"""How far a head's eyes, nose, mouth and outline are from the photo's, with gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.errors import OptionError
from tpn_engine.inversion.losses import squared_error
from tpn_engine.inversion.pixels import Target, see
from tpn_engine.inversion.subject import Subject
from tpn_engine.nets.generator import Generator
from tpn_engine.portrait.landmarks import PRESENCE, REGION_SCALE, FaceLandmarker, Region, eye_distance

_EDGE = 48  # pixels of the picture of the face: with 32 the net still follows a shift, with 24 it is lost


@dataclass(frozen=True)
class LandmarkLoss:
    """A small picture of the photo's face, and where its landmarks are.

    The photo is seen at `resolution`, of which the pixels `where` [N] show the face's `region`; `landmarks`
    [468, 2] and `eyes`, the distance of the eyes, are in such pixels. The net looks at both pictures at the
    same size, so that what it gets wrong there is no difference.
    """

    landmarker: FaceLandmarker
    region: Region
    resolution: int
    where: Tensor
    landmarks: Tensor
    eyes: float

    @classmethod
    @torch.no_grad()
    def of(cls, subject: Subject) -> LandmarkLoss:
        """From the photo; raises OptionError where it shows no face."""
        landmarker = FaceLandmarker(subject.photo.device)
        crop = ((subject.photo[0] + 1) / 2).permute(1, 2, 0).cpu().numpy()
        camera = Camera.from_label(subject.label[0].cpu().numpy())
        found, presence = landmarker.landmarks(crop, Region.expected(camera, subject.face, len(crop)))
        if presence < PRESENCE:
            raise OptionError("No landmarks can be made out in this photo: leave landmark_weight at 0.")
        around = Region.around(found)
        resolution = round(_EDGE * len(crop) / (around.extent * REGION_SCALE))
        scale = resolution / len(crop)
        region = Region(around.center * scale, around.extent * scale, around.angle)
        where = _pixels(region, resolution)
        target = Target.of(subject.photo, None, resolution)
        picture = _picture(target.color[:, where.to(target.color.device)], where, resolution)
        landmarks, _ = landmarker.look(picture, region)
        return cls(landmarker, region, resolution, where, landmarks[:, :2], eye_distance(found) * scale)

    def __call__(self, generator: Generator, planes: Tensor, label: Tensor) -> Tensor:
        """Of planes [1, 3, C, H, W] as the camera label [1, 25] sees them; renders every pixel of the face."""
        seen = see(planes, generator.decoder, generator.preset, label, self.resolution, self.where)
        return self.between(_picture(seen.color, self.where, self.resolution))

    def between(self, picture: Tensor) -> Tensor:
        """Mean square of the distance in a picture [1, 3, R, R] in [0, 1], in squares of the eyes' distance."""
        landmarks, _ = self.landmarker.look(picture, self.region)
        return 2 * squared_error(landmarks[:, :2] / self.eyes, self.landmarks / self.eyes)


def _pixels(region: Region, resolution: int) -> Tensor:
    """Flat indices [N] of the upright square around the turned one that the net looks at, in R x R pixels."""
    reach = region.extent * REGION_SCALE / 2 * (abs(math.cos(region.angle)) + abs(math.sin(region.angle)))
    (left, top), (right, bottom) = (
        (int(x), int(y)) for x, y in ((region.center - reach).clip(0), (region.center + reach + 1).clip(max=resolution))
    )
    rows, columns = torch.arange(top, bottom), torch.arange(left, right)
    return (rows[:, None] * resolution + columns).flatten()


def _picture(pixels: Tensor, where: Tensor, resolution: int) -> Tensor:
    """[1, N, 3] at `where` to [1, 3, R, R], black elsewhere."""
    whole = pixels.new_zeros(1, resolution**2, 3).index_copy(1, where.to(pixels.device), pixels)
    return whole.transpose(1, 2).unflatten(2, (resolution, resolution))
