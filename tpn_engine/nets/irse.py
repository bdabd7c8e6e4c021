"""IR-SE residual networks: the body of both encoders, and the identity networks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tpn_engine.nets.presets import BodyPreset

SQUEEZE_REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Weighs each channel by what the whole map holds (Hu et al. 2018): [B,C,H,W] -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // SQUEEZE_REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // SQUEEZE_REDUCTION, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(pooled))))


class ResidualUnit(nn.Module):
    """Pre-activation residual unit of ArcFace's "improved residual" networks (Deng et al. 2019).

    [B, in_channels, H, W] -> [B, out_channels, ceil(H/stride), ceil(W/stride)]. Where the width stays,
    the shortcut takes every stride-th pixel and has no weights.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, squeeze_excitation: bool) -> None:
        super().__init__()
        if in_channels != out_channels:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        else:
            self.shortcut_layer = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        residual: list[nn.Module] = [
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        if squeeze_excitation:
            residual.append(SqueezeExcitation(out_channels))
        self.res_layer = nn.Sequential(*residual)

    def forward(self, x: Tensor) -> Tensor:
        return self.res_layer(x) + self.shortcut_layer(x)


def stem(in_channels: int, out_channels: int) -> nn.Sequential:
    """First layer: [B,in_channels,H,W] -> [B,out_channels,H,W]."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.PReLU(out_channels),
    )


def residual_units(preset: BodyPreset, squeeze_excitation: bool = True) -> nn.Sequential:
    """All units of the four stages in a row; the first unit of each stage halves the map."""
    units: list[nn.Module] = []
    width = preset.channels[0]
    for channels, count in zip(preset.channels[1:], preset.units, strict=True):
        for index in range(count):
            units.append(ResidualUnit(width, channels, 2 if index == 0 else 1, squeeze_excitation))
            width = channels
    return nn.Sequential(*units)


def stage_ends(preset: BodyPreset) -> tuple[int, int, int, int]:
    """Index of the last unit of each stage; (2, 6, 20, 23) for IR-SE50."""
    first, second, third, fourth = preset.units
    return (first - 1, first + second - 1, first + second + third - 1, first + second + third + fourth - 1)


def run_with_taps(units: nn.Sequential, x: Tensor, taps: tuple[int, ...]) -> list[Tensor]:
    """Runs all units; returns the maps after the units with the given indices, in that order."""
    maps = {}
    for index, unit in enumerate(units):
        x = unit(x)
        if index in taps:
            maps[index] = x
    return [maps[index] for index in taps]


@dataclass(frozen=True)
class IdentityPreset:
    """An identity network: its body and the two ways in which the published ones differ."""

    body: BodyPreset
    squeeze_excitation: bool
    affine_output: bool
    resolution: int = 112
    features: int = 512


IR_SE50 = IdentityPreset(BodyPreset(), squeeze_excitation=True, affine_output=True)
"""ArcFace IR-SE50 (`model_ir_se50.pth`): the identity loss of pSp and TriPlaneNet."""

CURRICULARFACE_IR101 = IdentityPreset(BodyPreset(units=(3, 13, 30, 3)), squeeze_excitation=False, affine_output=False)
"""CurricularFace IR-101: the identity measure in TriPlaneNet's evaluation."""


class IdentityNetwork(nn.Module):
    """Face identity (Deng et al. 2019): aligned faces -> unit vectors whose dot product is the similarity.

    Faces [B,3,112,112] in [-1,1] -> [B,512]. State-dict keys as in the published files.
    """

    def __init__(self, preset: IdentityPreset = IR_SE50) -> None:
        super().__init__()
        width = preset.body.channels[-1]
        side = preset.resolution // 16
        self.input_layer = stem(3, preset.body.channels[0])
        self.body = residual_units(preset.body, preset.squeeze_excitation)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(0.4),
            nn.Flatten(),
            nn.Linear(width * side * side, preset.features),
            nn.BatchNorm1d(preset.features, affine=preset.affine_output),
        )

    def forward(self, faces: Tensor) -> Tensor:
        return nn.functional.normalize(self.output_layer(self.body(self.input_layer(faces))))
