"""What the photo shows of a head's own front: colours to be learned, and where they don't hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_model import tiny_network
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.nets.front import FrontSurface
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.training.batches import Batch
from tpn_engine.training.shown import shown_loss

POINTS = 4000
FRONTAL = Camera.orbit(0.0, 0.0)


def ball(size: int = 64, radius: float = 0.3) -> FrontSurface:
    """The front half of a ball in the middle of the box; around it a plane through its middle that nobody hit."""
    at = (torch.arange(size) + 0.5) / size - 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    square = radius**2 - x**2 - y**2
    z = square.clamp(min=0).sqrt()
    points = torch.stack([x, y, z], dim=-1)[None]
    normals = torch.where((square > 0)[..., None], points / radius, torch.tensor([0.0, 0.0, 1.0]))
    return FrontSurface(points, normals, (square > 0).float()[None, None])


def batch(color: Tensor, camera: Camera = FRONTAL, matte: float = 1.0) -> Batch:
    """One head whose photo is [3,S,S] in [0,1]; no points of its own."""
    photo = torch.cat([color, torch.full_like(color[:1], matte)])[None] * 2 - 1
    nothing = torch.zeros(1, 0, 3)
    none = torch.zeros(1, 0)
    label = torch.from_numpy(camera.label)[None]
    return Batch(photo, label, nothing, nothing, none, nothing, none, none)


@pytest.fixture(scope="module")
def network() -> TriPlaneNet:
    return tiny_network()


@pytest.fixture(scope="module")
def planes(network: TriPlaneNet) -> Tensor:
    return network.pivot(torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1).planes


def loss(network: TriPlaneNet, planes: Tensor, seen: Batch, surface: FrontSurface) -> float:
    torch.manual_seed(2)
    return float(shown_loss(network.decoder, planes, surface, seen, POINTS))


def test_the_photo_of_the_front_itself_costs_next_to_nothing(network: TriPlaneNet, planes: Tensor) -> None:
    surface = ball()
    field = network.decoder.field(planes[0])
    far = Camera.orbit(0.0, 0.0, radius=1000.0, focal=1000.0)  # its picture is the box's front
    colors = field.colors(surface.points.reshape(-1, 3)).view(64, 64, 3).permute(2, 0, 1).flip(1)
    own, other = batch(colors, far), batch(1 - colors, far)
    assert loss(network, planes, own, surface) < 0.02
    assert loss(network, planes, other, surface) > 0.1


def test_what_the_person_is_not_or_the_head_does_not_reach_counts_for_nothing(
    network: TriPlaneNet, planes: Tensor
) -> None:
    white = torch.ones(3, 64, 64)
    surface = ball()
    assert loss(network, planes, batch(white), surface) > 0.05
    assert loss(network, planes, batch(white, matte=0.5), surface) == 0
    missed = replace(surface, hit=torch.zeros_like(surface.hit))
    assert loss(network, planes, batch(white), missed) == 0


def test_what_is_hidden_counts_for_nothing(network: TriPlaneNet, planes: Tensor) -> None:
    """A roof over the floor hides a strip of it from a camera on its side."""
    at = (torch.arange(128) + 0.5) / 128 - 0.5
    y, x = torch.meshgrid(at, at, indexing="ij")
    height, low, high = 0.4, -0.1, 0.2
    roof = (x > low) & (x < high)
    points = torch.stack([x, y, torch.where(roof, height, 0.0)], dim=-1)
    facing = torch.tensor([0.0, 0.0, 1.0]).expand(1, 128, 128, 3)
    surface = FrontSurface(points[None], facing, torch.ones(1, 1, 128, 128))
    camera = Camera.orbit(40.0, 0.0)
    to_camera = torch.from_numpy(camera.position).float() - points
    above = points + to_camera * (height / to_camera[..., 2:])  # where a point of the floor looks through the roof
    hidden = ~roof & (above[..., 0] > low) & (above[..., 0] < high) & (above[..., 1].abs() < 0.5)
    image = torch.from_numpy(camera.project(points.reshape(-1, 3).double().numpy())[:, :2])
    cell = (image * 32).long().clamp(0, 31)
    picture = torch.zeros(32, 32)
    picture[cell[roof.flatten(), 1], cell[roof.flatten(), 0]] = 1
    white = (picture[cell[:, 1], cell[:, 0]] > 0).view(128, 128)
    framed = ((image > 0) & (image < 1)).all(1).view(128, 128)
    expected = float((white & framed & ~hidden).sum() / (framed & ~hidden).sum())

    class Black(torch.nn.Module):
        def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
            return features[..., :1], torch.zeros(*features.shape[:-1], 3)

    decoder = network.decoder.decoder
    network.decoder.decoder = Black()  # type: ignore[assignment]
    try:
        seen = loss(network, planes, batch(picture.expand(3, 32, 32), camera), surface)
    finally:
        network.decoder.decoder = decoder
    assert seen == pytest.approx(expected, rel=0.04)
