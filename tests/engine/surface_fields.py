"""Small tri-plane fields with a known or a repeatable surface."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch.nn import functional as F

from tpn_engine.nets.box import Box
from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.layers import FullyConnected
from tpn_engine.nets.presets import PlaneAxes

LEVEL = 10.0
CENTER = np.array([0.05, -0.03, 0.08])
RADII = np.array([0.2, 0.3, 0.25])


def random_field(axes: PlaneAxes, seed: int, detail: int = 6, gain: float = 1.0, count: int = 3) -> TriplaneField:
    """A smooth random field of `detail` bumps along each axis; `gain` stretches the pre-activations, `count` planes."""
    generator = torch.Generator().manual_seed(seed)
    planes = torch.randn(count, 8, detail, detail, generator=generator) * 2
    planes = F.interpolate(planes, (48, 48), mode="bicubic").contiguous()
    decoder = Decoder(channels=8, hidden=24).eval().requires_grad_(False)
    for value in decoder.parameters():
        value.copy_(torch.randn(value.shape, generator=generator) * gain)
    return TriplaneField(planes, decoder, axes, Box())


def crossed_level(field: TriplaneField, fraction: float = 0.1) -> float:
    """The level that `fraction` of the box is above."""
    points = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    return float(field.density(points).quantile(1 - fraction))


def ellipsoid_field(axes: PlaneAxes, island: float = 0.0, *, ledge: bool = False) -> TriplaneField:
    """Density 10 + 40 (1 - q) inside the box, q = 1 on the ellipsoid of CENTER and RADII.

    softplus(s) - softplus(-s) = s makes the decoder linear, and q is a sum over the planes. `island`
    adds a ball of that radius in the corner (0.38, 0.38, 0.38), apart from the ellipsoid, `ledge` a thin flat
    ellipsoid before the forehead that reaches into it. Colours follow x, y and z, each by a slope of its own.
    """
    size = 256
    axis = (torch.arange(size) + 0.5) / size - 0.5
    square = [((axis - CENTER[k]) / RADII[k]) ** 2 for k in range(3)]
    planes = torch.zeros(3, 8, size, size)
    planes[0, 0] = square[0] + square[1][:, None]  # [v = y, u = x]
    planes[1, 0] = square[2][:, None].expand(size, size)  # [v = z, u = x]
    planes[0, 1] = axis.expand(size, size)
    planes[0, 2] = axis[:, None].expand(size, size)
    planes[1, 3] = axis[:, None].expand(size, size)
    if island:
        ball = ((axis - 0.38) / island) ** 2
        planes[0, 4] = ball + ball[:, None]
        planes[1, 4] = ball[:, None].expand(size, size)
    if ledge:
        planes[0, 4] = (axis / 0.12) ** 2 + (((axis - 0.18) / 0.014) ** 2)[:, None]
        planes[1, 4] = (((axis - 0.25) / 0.17) ** 2)[:, None].expand(size, size)
    decoder = Decoder(channels=8, hidden=10).eval().requires_grad_(False)
    first, last = cast(FullyConnected, decoder.net[0]), cast(FullyConnected, decoder.net[2])
    for layer in (first, last):
        layer.weight.zero_()
        layer.bias.zero_()
    for channel in range(4):  # a pair of units for each channel, which passes it on
        first.weight[2 * channel, channel], first.weight[2 * channel + 1, channel] = 3.0, -3.0
        last.weight[channel, 2 * channel], last.weight[channel, 2 * channel + 1] = 1.0, -1.0
    last.weight[0] *= -40.0
    last.bias[0] = 50.0
    if island or ledge:  # softplus of 12 (2 - ball) is nothing away from the ball and lifts the density in it
        first.weight[8, 4], first.bias[8] = -36.0, 24.0
        last.weight[0, 8] = 40.0
    for layer in (first, last):
        layer.weight.div_(layer.weight_gain)
    return TriplaneField(planes, decoder, axes, Box())
