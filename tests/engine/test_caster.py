"""Rays cast through a lattice meet the field's own surface, and the eye tells what a photo shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_model import tiny_preset
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.inversion.caster import Caster, Hits
from tpn_engine.inversion.eye import Eye, pixels_at, project
from tpn_engine.inversion.subject import Subject
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.volume import rays
from tpn_engine.standard_face import EG3D_FACE

LEVEL, SIZE = 0.3, 48


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(5)
    return Generator(tiny_preset().generator).requires_grad_(False)


@pytest.fixture(scope="module")
def planes() -> Tensor:
    torch.manual_seed(6)
    coarse = torch.randn(3, 8, 3, 3) * 3
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic")[None]


@pytest.fixture(scope="module")
def label() -> Tensor:
    return torch.from_numpy(Camera.orbit(25.0, 10.0, look_at=(0.0, 0.0, 0.0)).label)[None]


@pytest.fixture(scope="module")
def caster(generator: Generator, planes: Tensor) -> Caster:
    return Caster.of(generator, planes, LEVEL)


@pytest.fixture(scope="module")
def hits(caster: Caster, label: Tensor) -> Hits:
    origins, directions = rays(label, SIZE)
    return caster.cast(origins[0], directions[0])


def density(generator: Generator, planes: Tensor, label: Tensor, distance: Tensor) -> Tensor:
    origins, directions = rays(label, SIZE)
    return generator.field(planes[0]).density(origins[0] + directions[0] * distance[:, None])


def test_a_hit_lies_where_the_density_crosses_the_level(
    generator: Generator, planes: Tensor, label: Tensor, hits: Hits
) -> None:
    assert 0.1 < hits.hit.float().mean() < 0.95
    origins, directions = (part[0] for part in rays(label, SIZE))
    points = origins + directions * hits.distance[:, None]
    entered = hits.hit & (points.abs().amax(-1) < 0.47)  # not cut by the box's face
    at, before = (density(generator, planes, label, hits.distance - back)[entered] for back in (0.0, 0.03))
    assert entered.sum() > 100
    assert (at - LEVEL).abs().median() < 0.002
    assert (before < LEVEL).float().mean() > 0.97


def test_a_ray_without_a_hit_stays_below_the_level_and_knows_its_densest_place(
    generator: Generator, planes: Tensor, label: Tensor, hits: Hits
) -> None:
    missed = hits.boxed & ~hits.hit
    assert missed.any()
    densest = density(generator, planes, label, hits.densest)[missed]
    for share in (0.3, 0.5, 0.7):
        origins, directions = (part[0][missed] for part in rays(label, SIZE))
        length = 2.2 + share  # across the box, seen from 2.7 units
        other = generator.field(planes[0]).density(origins + directions * length)
        inside = (origins + directions * length).abs().amax(-1) < 0.5
        assert (other[inside] <= densest[inside] + 0.05).float().mean() > 0.97
    assert densest.max() < LEVEL + 0.05


def test_rays_beside_the_box_meet_nothing(caster: Caster) -> None:
    hits = caster.cast(torch.tensor([[0.0, 2.0, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]]))
    assert not hits.hit.any()
    assert not hits.boxed.any()


def test_edges_of_the_surface_are_not_smooth(hits: Hits) -> None:
    smooth = hits.smooth(SIZE)
    hit = hits.hit.view(SIZE, SIZE)
    border = torch.zeros_like(hit)
    border[:, 1:] |= hit[:, 1:] != hit[:, :-1]
    border[1:] |= hit[1:] != hit[:-1]
    assert not (smooth.view(SIZE, SIZE) & border).any()
    assert (smooth & hits.hit).any()


def test_the_eye_sees_hits_and_neither_what_is_behind_nor_whom_the_matte_leaves_out(
    caster: Caster, label: Tensor, hits: Hits
) -> None:
    photo = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    matte = torch.zeros(1, 1, 64, 64)
    matte[..., 32:] = 1
    eye = Eye.of(caster, Subject(photo, label, matte, EG3D_FACE))
    origins, directions = (part[0] for part in rays(label, SIZE))
    seen = hits.hit & hits.smooth(SIZE)
    points = (origins + directions * hits.distance[:, None])[seen]
    behind = (origins + directions * (hits.distance + 0.1)[:, None])[seen]
    assert eye.sees(points).float().mean() > 0.97
    assert eye.sees(behind).float().mean() < 0.03
    places, _ = project(label, points)
    torch.testing.assert_close(eye.sees_nobody(points), places[:, 0] < pixel_edge(matte, places), check_dtype=False)
    assert not Eye.of(caster, replace(eye.subject, matte=None)).sees_nobody(points).any()


def pixel_edge(matte: Tensor, places: Tensor) -> Tensor:
    """Where along a row the matte rises over the limit: just before the middle."""
    row = torch.linspace(-1, 1, 2001)
    values = pixels_at(matte, torch.stack([row, torch.zeros_like(row)], dim=-1))[:, 0]
    return row[values < 0.05].max().expand(len(places))
