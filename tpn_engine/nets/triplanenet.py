"""TriPlaneNet: a portrait and its camera label to tri-planes, in two phases."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from tpn_engine.errors import ModelError
from tpn_engine.nets.front import FrontSurface, front_pictures, front_surface, person_columns
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.labels import mirrored_label
from tpn_engine.nets.lifting import lift
from tpn_engine.nets.presets import Preset
from tpn_engine.nets.psp_encoder import PspEncoder
from tpn_engine.nets.refiner import Refiner

_TURNED = 0.4  # cosine between the front and the z axis below which detail fades


@dataclass(frozen=True)
class Pivot:
    """First phase's result: latent codes [B,num_ws,w_dim] and the planes [B,3,C,H,W] they generate.

    Under way in the refinement there can be four planes, see `nets.field`.
    """

    codes: Tensor
    planes: Tensor


@dataclass(frozen=True)
class Pictures:
    """What version 2's auto-encoder sees, `channels` [B,9 or 12,S,S].

    If it was taken from a front, also the `surface` and which of its `columns` [B,1,S,S] belong to the person.
    """

    channels: Tensor
    surface: FrontSurface | None = None
    columns: Tensor | None = None


class TriPlaneNet(nn.Module):
    """3D GAN inversion by pivot and refinement (Bhattarai et al. 2023), versions 1 and 2.

    Photos are [B,3,H,W] in [-1,1], those of matted presets [B,4,H,W] with the matte as the fourth channel, at
    least as large as the preset's resolutions, and resized inside as in training: bilinear without antialias.
    Labels are camera labels [B,25]. State-dict keys as in the authors' checkpoints; `latent_avg` [w_dim], the
    generator's average code, is kept beside them and set by whoever loads the weights.
    """

    latent_avg: Tensor

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        generator = preset.generator
        if preset.matted and preset.refiner.pictures != "front":
            raise ModelError("Only pictures of the front have a matte: use them, or a preset that isn't matted.")
        self.preset = preset
        decoder = Generator(generator)
        self.psp_encoder = PspEncoder(preset.psp, decoder.num_ws, generator.w_dim, preset.photo_channels)
        self.triplanenet_encoder = Refiner(
            preset.refiner, 3 * generator.plane_channels, generator.plane_resolution, preset.photo_channels
        )
        self.decoder = decoder
        self.register_buffer("latent_avg", torch.zeros(generator.w_dim), persistent=False)

    def with_decoder(self, generator: Generator) -> TriPlaneNet:
        """The same encoders with another generator, such as a tuned one; nothing is copied."""
        other = copy(self)
        other._modules = {**self._modules, "decoder": generator}
        return other

    def codes(self, photo: Tensor) -> Tensor:
        """The pSp encoder's latent codes [B,num_ws,w_dim]."""
        return self.psp_encoder(resized(photo, self.preset.psp.resolution)) + self.latent_avg

    def pivot(self, photo: Tensor) -> Pivot:
        """First phase: codes by the pSp encoder, planes by the generator."""
        codes = self.codes(photo)
        return Pivot(codes, self.decoder.planes(codes))

    def refine(self, pivot: Pivot, photo: Tensor, label: Tensor, *, cascade: bool = False) -> Tensor:
        """Second phase: the refined planes [B,3 or 4,C,H,W], of some presets finer than the pivot's, which is left.

        `cascade` is version 1's cascaded test-time refinement: offsets anew, from what the first pass
        left wrong; they take the place of the first ones. Raises ModelError where the version has none.
        """
        return self.detailed(self.refine_coarsely(pivot, photo, label, cascade=cascade), photo, label)

    def refine_coarsely(self, pivot: Pivot, photo: Tensor, label: Tensor, *, cascade: bool = False) -> Tensor:
        """The refined planes [B,3 or 4,C,H,W] as large as the pivot's, before detail is added."""
        photo = resized(photo, self.preset.refiner.resolution)
        version = self.preset.refiner.version
        if cascade and version != 1:
            raise ModelError("Cascaded refinement belongs to version 1: leave it off for this model.")
        if version == 1:
            view = self._view(pivot.codes, pivot.planes, label)
            refined = pivot.planes + self._offsets(view, photo)
            if not cascade:
                return refined
            return pivot.planes + self._offsets(self._view(pivot.codes, refined, label), photo)
        pivot = self.begin(pivot)
        for _ in range(self.preset.refiner.passes):
            pivot = Pivot(pivot.codes, self.refine_from(self.pictures(pivot, photo, label), pivot).float())
        return pivot.planes

    def detailed(self, planes: Tensor, photo: Tensor, label: Tensor) -> Tensor:
        """Refined planes enlarged, the first with the detail that the photo shows; others' planes as they are."""
        if self.preset.refiner.finer == 1:
            return planes
        fine = self.enlarged(planes)
        first = fine[:, 0] + self.detail(self.front(planes, fine.shape[-1]), fine, photo, label)
        return torch.cat([first[:, None], fine[:, 1:]], dim=1)

    def enlarged(self, planes: Tensor) -> Tensor:
        """Planes [B,3 or 4,C,H,W] as large as the preset's finer ones."""
        size = planes.shape[-1] * self.preset.refiner.finer
        large = interpolate(planes.flatten(1, 2), size=(size, size), mode="bilinear", align_corners=False)
        return large.unflatten(1, planes.shape[1:3])

    @torch.no_grad()
    def front(self, planes: Tensor, size: int) -> FrontSurface:
        """The front of planes [B,3 or 4,C,H,W] on a grid of `size`."""
        return front_surface(self.decoder, planes, self.preset.iso_level, size)

    def detail(self, surface: FrontSurface, fine: Tensor, photo: Tensor, label: Tensor) -> Tensor:
        """What the first of the enlarged planes `fine` gains, [B,C,S,S], from pictures as large of their front."""
        with torch.no_grad(), torch.autocast(fine.device.type, enabled=False):
            pictures = front_pictures(self.decoder, fine, surface, resized(photo, fine.shape[-1]), label)
        # A texel of the XY plane serves all depths: where the front turns away its detail would run back in streaks.
        facing = (surface.normals[..., 2] / _TURNED).clamp(max=1)[:, None]
        return self.triplanenet_encoder.detail(pictures, fine[:, 0]) * facing

    def begin(self, pivot: Pivot) -> Pivot:
        """What version 2's first pass starts from: a plane that lies behind begins as the one in front."""
        if not self.preset.refiner.behind:
            return pivot
        return Pivot(pivot.codes, torch.cat([pivot.planes, pivot.planes[:, :1]], dim=1))

    def pictures(self, pivot: Pivot, photo: Tensor, label: Tensor) -> Pictures:
        """What version 2's auto-encoder sees: view, difference and mirrored difference."""
        photo = resized(photo, self.preset.refiner.resolution)
        if self.preset.refiner.pictures == "front":
            with torch.autocast(photo.device.type, enabled=False):
                surface = self.front(pivot.planes, photo.shape[-1])
                channels = front_pictures(self.decoder, pivot.planes, surface, photo, label)
                return Pictures(channels, surface, person_columns(surface, photo, label))
        view = self._view(pivot.codes, pivot.planes, label)
        mirror_view = self._view(pivot.codes, pivot.planes, mirrored_label(label))
        return Pictures(torch.cat([view, photo - view, photo.flip(-1) - mirror_view], dim=1))

    def refine_from(self, pictures: Pictures, pivot: Pivot) -> Tensor:
        """Version 2's refined planes [B,3 or 4,C,H,W] from its pictures, by one pass."""
        surface, columns, generator = pictures.surface, pictures.columns, self.preset.generator

        def lifted(features: Tensor) -> list[Tensor]:
            assert surface is not None
            assert columns is not None
            return lift(features, surface.points, columns, generator.plane_axes, generator.box)

        channels, planes = pictures.channels, pivot.planes.flatten(1, 2)
        refined = self.triplanenet_encoder(channels, planes, lifted if surface is not None else None)
        return refined.unflatten(1, pivot.planes.shape[1:3])

    def _offsets(self, view: Tensor, photo: Tensor) -> Tensor:
        offsets = self.triplanenet_encoder(torch.cat([view, photo - view], dim=1))
        return offsets.unflatten(1, (3, self.preset.generator.plane_channels))

    def _view(self, codes: Tensor, planes: Tensor, label: Tensor) -> Tensor:
        """A rendering at the refinement's resolution: the final image averaged, or the raw one enlarged."""
        image = self.decoder.render(planes, codes, label).image
        size = self.preset.refiner.resolution
        if self.preset.generator.super_resolution is None:
            return resized(image, size)
        return adaptive_avg_pool2d(image, size)


def resized(photo: Tensor, size: int) -> Tensor:
    """[B,3,H,W] -> [B,3,size,size], bilinear without antialias as the authors resize photos.

    They halve at most. A photo more than twice too large is averaged down to twice the size first,
    or pixels would be left out.
    """
    if photo.shape[-1] > 2 * size:
        photo = adaptive_avg_pool2d(photo, 2 * size)
    if photo.shape[-2:] == (size, size):
        return photo
    return interpolate(photo, size=(size, size), mode="bilinear", align_corners=False)
