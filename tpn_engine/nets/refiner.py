"""Refinement auto-encoder of TriPlaneNet: from what the pivot got wrong to tri-plane offsets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tpn_engine.errors import ModelError
from tpn_engine.nets.irse import residual_units, run_with_taps, stage_ends, stem
from tpn_engine.nets.presets import RefinerPreset

Lift = Callable[[Tensor], list[Tensor]]

_LIFTED_HIDDEN = 48  # width of the head of each plane
_DETAIL_HIDDEN = 48  # and of the finer one's
_COARSE = 8  # texels that share an offset behind
PICTURES: dict[Literal[1, 2], int] = {1: 2, 2: 3}  # view, difference and, in version 2, mirrored difference


class DoubleConvolution(nn.Module):
    """Normalisation and two convolutions: [B,in_channels,H,W] -> [B,out_channels,H,W].

    The second activation stands twice in the published weights.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
            nn.PReLU(out_channels),
            nn.PReLU(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.double_conv(x)


class UpStep(nn.Module):
    """Enlarges `x`, joins the skip connection and convolves.

    `scale` is a module that brings x to the size of the skip: pixel shuffle (a quarter of the channels),
    nearest neighbour, or the identity.
    """

    def __init__(self, scale: nn.Module, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.scale = scale
        self.conv = DoubleConvolution(in_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, self.scale(x)], dim=1))


class Refiner(nn.Module):
    """Refinement phase of TriPlaneNet (Bhattarai et al. 2023), versions 1 and 2.

    Version 1: forward([B,6,S,S]) -> tri-plane offsets [B,C,S,S]; the input is the pivot's render and the
    photo's difference from it. Version 2: forward([B,9,S,S], pivot planes [B,C,S,S]) -> refined planes;
    the input also has the mirrored photo's difference from the mirrored view. C is all planes' channels
    together; S is the resolution of pictures and planes alike. With pictures of the front, they and the features are
    lifted to each plane before its own head: forward([B,9,S,S], pivot planes, lift), where lift takes [B,F,S,S] to
    three of [B,F+1,S,S]; a fourth plane, behind, is made of what the first one gets. Photos with a matte have four
    channels instead of three, and so have all pictures.

    Skips come from the ends of stages 1, 2 and 3 and from the first unit of stage 4 (units 2, 6, 20 and
    21 of IR-SE50).
    """

    def __init__(
        self, preset: RefinerPreset, plane_channels: int = 96, plane_resolution: int = 256, photo_channels: int = 3
    ) -> None:
        super().__init__()
        if plane_resolution != preset.resolution:
            raise ModelError(
                f"The refinement works at {preset.resolution} pixels and the planes at {plane_resolution}: "
                "give both the same resolution in the preset."
            )
        if preset.pictures == "front" and preset.version == 1:
            raise ModelError("Pictures of the front belong to version 2 of the refinement: use the camera's for 1.")
        if preset.behind and preset.pictures != "front":
            raise ModelError("A plane behind is made from pictures of the front: use them, or leave it out.")
        if preset.finer > 1 and preset.pictures != "front":
            raise ModelError("Finer planes are made from pictures of the front: use them, or leave finer at 1.")
        stem_width, *widths = preset.body.channels
        self.version = preset.version
        self.input_layer = stem(PICTURES[preset.version] * photo_channels, stem_width)
        self.body = residual_units(preset.body)
        ends = stage_ends(preset.body)
        self.taps = (ends[0], ends[1], ends[2], ends[2] + 1, ends[3])

        if preset.pixel_shuffle:
            scale, shrink = nn.PixelShuffle(2), 4
            outputs = (widths[3], 3 * widths[1], widths[2], 3 * widths[0] // 2)
        else:
            scale, shrink = nn.Upsample(scale_factor=2, mode="nearest"), 1
            outputs = (widths[3], widths[2], widths[1], widths[0])
        self.up1 = UpStep(nn.Identity(), widths[3] + widths[3], outputs[0])
        self.up2 = UpStep(scale, outputs[0] // shrink + widths[2], outputs[1])
        self.up3 = UpStep(scale, outputs[1] // shrink + widths[1], outputs[2])
        self.up4 = UpStep(scale, outputs[2] // shrink + widths[0], outputs[3])
        self.up5 = scale
        features = outputs[3] // shrink
        if preset.pictures == "front":
            width = plane_channels // 3
            lifted = features + PICTURES[preset.version] * photo_channels + 1
            self.plane_heads = nn.ModuleList(
                _head(width + lifted, width, _LIFTED_HIDDEN) for _ in range(4 if preset.behind else 3)
            )
            if preset.finer > 1:
                self.detail_head = _head(width + PICTURES[preset.version] * photo_channels, width, _DETAIL_HIDDEN)
        elif preset.version == 1:
            self.final_head = _head(features, plane_channels, plane_channels)
        else:
            self.final_head_two = _head(features + plane_channels, plane_channels, plane_channels)

    def features(self, pictures: Tensor) -> Tensor:
        """Auto-encoder without its head: pictures [B,6 or more,S,S] -> [B,F,S,S]."""
        skip1, skip2, skip3, skip4, deepest = run_with_taps(self.body, self.input_layer(pictures), self.taps)
        x = self.up1(deepest, skip4)
        x = self.up2(x, skip3)
        x = self.up3(x, skip2)
        x = self.up4(x, skip1)
        return self.up5(x)

    def forward(self, pictures: Tensor, pivot_planes: Tensor | None = None, lift: Lift | None = None) -> Tensor:
        features = self.features(pictures)
        if self.version == 1:
            return self.final_head(features)
        if pivot_planes is None:
            raise ModelError("Version 2 of the refinement needs the pivot's planes.")
        if lift is not None:
            # The features are made at half the pictures' size: the finest detail comes from the pictures themselves.
            detailed = torch.cat([features, pictures.to(features.dtype)], dim=1)
            lifted = lift(detailed)
            planes = pivot_planes.chunk(len(self.plane_heads), dim=1)
            parts = zip(self.plane_heads, planes, lifted, strict=False)
            refined = [plane + head(torch.cat([plane, own], dim=1)) for head, plane, own in parts]
            if len(planes) == 4:
                refined.append(planes[3] + _coarsely(self.plane_heads[3], torch.cat([planes[3], lifted[0]], dim=1)))
            return torch.cat(refined, dim=1)
        return self.final_head_two(torch.cat([pivot_planes, features], dim=1)) + pivot_planes

    def detail(self, pictures: Tensor, plane: Tensor) -> Tensor:
        """Offsets [B,F,S,S] of an enlarged first plane [B,F,S,S], from pictures [B,9 or 12,S,S] of its front."""
        return self.detail_head(torch.cat([plane, pictures.to(plane.dtype)], dim=1))


def _coarsely(head: nn.Module, x: Tensor) -> Tensor:
    """A head's work at a fraction of the size: no photo shows what lies behind, so there is no detail to be had."""
    small = functional.avg_pool2d(x, _COARSE)
    return functional.interpolate(head(small), size=x.shape[-2:], mode="bilinear", align_corners=False)


def _head(in_channels: int, out_channels: int, hidden: int) -> nn.Sequential:
    last = nn.Conv2d(hidden, out_channels, 1)
    with torch.no_grad():  # so that training starts near the pivot's planes
        for parameter in last.parameters():
            parameter *= 0.1
    return nn.Sequential(
        nn.Conv2d(in_channels, hidden, 3, padding=1),
        nn.PReLU(hidden),
        nn.Conv2d(hidden, hidden, 3, padding=1),
        nn.PReLU(hidden),
        last,
    )
