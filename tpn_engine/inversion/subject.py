"""What every method takes and gives: the photo as the networks see it, and the head it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tpn_engine.inversion.fitting import FitReport
from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.presets import Preset
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.standard_face import StandardFace


@dataclass(frozen=True)
class Subject:
    """A photo [1, 3, S, S] in [-1, 1] with its camera label [1, 25], on one device.

    `matte` [1, 1, S, S] in [0, 1] if the model sees the person on black, else None. `face`: where the standard face
    stands in the label's world.
    """

    photo: Tensor
    label: Tensor
    matte: Tensor | None
    face: StandardFace

    @property
    def shown(self) -> Tensor:
        """What the networks take: the photo, with its matte, if there is one, as a fourth channel in [-1, 1]."""
        return self.photo if self.matte is None else torch.cat([self.photo, self.matte * 2 - 1], dim=1)

    @classmethod
    def of(
        cls,
        crop: np.ndarray,
        matte: np.ndarray,
        label: np.ndarray,
        *,
        matted: bool,
        device: torch.device,
        face: StandardFace,
    ) -> Subject:
        """From a crop [S, S, 3] and a matte [S, S] in [0, 1]; `matted` puts the person on black."""
        picture = crop * matte[..., None] if matted else crop
        photo = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1)[None] * 2 - 1
        coverage = torch.from_numpy(np.ascontiguousarray(matte, np.float32))[None, None].to(device) if matted else None
        return cls(photo.to(device), torch.from_numpy(label)[None].to(device), coverage, face)


@dataclass(frozen=True)
class Inversion:
    """What a method makes of a subject.

    `codes` [num_ws, w_dim], `planes` [3, C, H, W], the `decoder` that reads them (the model's own unless
    it was tuned), the camera `label` [25], the `seconds` of each stage, how each optimisation went, and, by
    name, where the weights come from of those losses that need any and had a part in it.
    """

    codes: Tensor
    planes: Tensor
    decoder: Decoder
    label: Tensor
    seconds: dict[str, float]
    fits: dict[str, FitReport] = field(default_factory=dict)
    losses: dict[str, str] = field(default_factory=dict)

    def head(self, preset: Preset, matte: np.ndarray) -> TriplaneField:
        """The head as a radiance field, cut to the matte's [S, S] silhouette if it is a surface seen with a matte."""
        silhouette = Silhouette.of(matte, self.label, preset.iso_level) if preset.bounded else None
        return TriplaneField(
            self.planes,
            self.decoder,
            preset.generator.plane_axes,
            preset.generator.box,
            silhouette=silhouette,
            surface=preset.surface,
        )
