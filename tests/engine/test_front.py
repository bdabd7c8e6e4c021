"""Pictures off the pivot's front agree with the field they are taken from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_model import tiny_preset
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.nets.front import FrontSurface, front_pictures, front_surface, person_columns
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.labels import mirrored_label
from tpn_engine.nets.presets import PlaneAxes

LEVEL = 0.3


@pytest.fixture(params=[("xy_xz_yz", 0.0), ("xy_xz_zx", 0.0), ("xy_xz_yz", 0.15)])
def generator(request: pytest.FixtureRequest) -> Generator:
    axes: PlaneAxes
    axes, back = request.param
    torch.manual_seed(5)
    return Generator(replace(tiny_preset().generator, plane_axes=axes, box_back=back)).requires_grad_(False)


@pytest.fixture(params=[3, 4])
def planes(request: pytest.FixtureRequest) -> Tensor:
    """Two smooth fields: random planes without detail between the lattice points."""
    torch.manual_seed(6)
    coarse = torch.randn(2, 4, 8, 3, 3)[:, : request.param].flatten(0, 1) * 3
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").unflatten(0, (2, request.param))


@pytest.fixture
def surface(generator: Generator, planes: Tensor) -> FrontSurface:
    return front_surface(generator, planes, LEVEL, 32)


def test_surface_lies_where_the_density_crosses_the_level(generator: Generator, planes: Tensor, surface: FrontSurface):
    for head in range(2):
        field = generator.field(planes[head])
        hit = surface.hit[head, 0] > 0
        assert 0.2 < hit.float().mean() < 1.0
        points = surface.points[head][hit]
        within = points[:, 2].abs() < 0.46  # where the surface cuts the box's face, there is no crossing
        step = torch.tensor([0.0, 0.0, 1 / 16])
        before, behind = field.density(points[within] + step), field.density(points[within] - step)
        assert ((before < LEVEL) | (behind > LEVEL)).float().mean() > 0.97
        off = (field.density(points[within]) - LEVEL).abs().median()
        assert off < 0.1 * field.density(points).std()


def test_nothing_lies_before_the_surface(generator: Generator, planes: Tensor, surface: FrontSurface):
    field = generator.field(planes[0])
    hit = surface.hit[0, 0] > 0
    points = surface.points[0][hit]
    for share in (0.3, 0.6, 0.9):
        ahead = points.clone()
        ahead[:, 2] += 1 / 16 + share * (0.5 - points[:, 2] - 1 / 16).clamp(min=0)
        assert (field.density(ahead)[points[:, 2] < 0.4] < LEVEL).float().mean() > 0.95


def test_columns_that_meet_nothing_are_as_deep_as_those_around(surface: FrontSurface):
    depth, hit = surface.points[..., 2], surface.hit[:, 0] > 0
    assert (~hit).any()
    for head in range(2):
        known = depth[head][hit[head]]
        assert depth[head].min() >= known.min() - 1e-6
        assert depth[head].max() <= known.max() + 1e-6
    beside = ~hit[:, :, 1:] & hit[:, :, :-1]
    step = (depth[:, :, 1:] - depth[:, :, :-1]).abs()[beside]
    assert step.median() < 0.1


def test_a_finer_front_is_the_same_surface(generator: Generator, planes: Tensor, surface: FrontSurface):
    fine = front_surface(generator, planes, LEVEL, 64)
    assert fine.points.shape == (2, 64, 64, 3)
    quarters = fine.points.unflatten(1, (32, 2)).unflatten(3, (32, 2)).mean(dim=(2, 4))
    torch.testing.assert_close(quarters[..., :2], surface.points[..., :2])
    within = (surface.hit[:, 0] > 0) & (torch.nn.functional.avg_pool2d(fine.hit, 2)[:, 0] == 1)
    assert (quarters[..., 2] - surface.points[..., 2])[within].abs().median() < 0.005


def test_normals_of_a_plane_that_leans(generator: Generator, surface: FrontSurface):
    points, normals = surface.points, surface.normals
    along_x = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    along_y = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    for edge in (along_x, along_y):
        assert (edge * normals[:, 1:-1, 1:-1]).sum(-1).abs().max() < 1e-5
    assert torch.allclose(normals.norm(dim=-1), torch.ones(()), atol=1e-5)


def test_differences_vanish_where_the_photo_is_the_surface_itself(
    generator: Generator, planes: Tensor, surface: FrontSurface
):
    label = torch.from_numpy(Camera.orbit(0.0, 0.0, radius=1000.0, focal=1000.0).label)[None].repeat(2, 1)
    black = torch.full((2, 3, 64, 64), -1.0)
    view = front_pictures(generator, planes, surface, black, label)[:, :3]
    photo = view.flip(2)  # rows of a photo run down; this far camera sees the box as the planes do
    pictures = front_pictures(generator, planes, surface, photo, label)
    assert torch.equal(pictures[:, :3], view)
    assert pictures[:, 3:6].abs().mean() < 0.02
    assert pictures[:, 6:].abs().mean() > 0.1  # these heads are not symmetric


def test_mirrored_difference_is_the_difference_of_the_mirrored_photo(
    generator: Generator, planes: Tensor, surface: FrontSurface
):
    torch.manual_seed(7)
    photo = torch.rand(2, 3, 64, 64) * 2 - 1
    label = torch.from_numpy(Camera.orbit(25.0, 10.0).label)[None].repeat(2, 1)
    pictures = front_pictures(generator, planes, surface, photo, label)
    other = front_pictures(generator, planes, surface, photo.flip(-1), mirrored_label(label))
    assert torch.allclose(pictures[:, 6:], other[:, 3:6], atol=1e-4)
    assert torch.allclose(pictures[:, 3:6], other[:, 6:], atol=1e-4)


def test_the_matte_tells_what_the_surface_lacks(generator: Generator, planes: Tensor, surface: FrontSurface):
    label = torch.from_numpy(Camera.orbit(0.0, 0.0, radius=1000.0, focal=1000.0).label)[None].repeat(2, 1)
    everywhere, nowhere = torch.ones(2, 4, 64, 64), torch.full((2, 4, 64, 64), -1.0)
    missing = surface.hit == 0
    pictures = front_pictures(generator, planes, surface, everywhere, label)
    assert pictures.shape[1] == 12
    assert torch.equal(pictures[:, 3:4] > 0, ~missing)  # the surface's own matte
    assert torch.allclose(pictures[:, 7:8][missing], torch.tensor(2.0))
    assert pictures[:, 7:8][~missing].abs().max() < 1e-6
    assert person_columns(surface, everywhere, label).min() == 1
    assert torch.allclose(person_columns(surface, nowhere, label), surface.hit, atol=1e-5)
    assert torch.equal(person_columns(surface, everywhere[:, :3], label), surface.hit)


def test_what_grazes_or_is_out_of_the_picture_counts_for_nothing(
    generator: Generator, planes: Tensor, surface: FrontSurface
):
    label = torch.from_numpy(Camera.orbit(0.0, 0.0, focal=20.0).label)[None].repeat(2, 1)
    photo = torch.ones(2, 3, 64, 64)
    difference = front_pictures(generator, planes, surface, photo, label)[:, 3:6]
    assert difference[..., :4].abs().max() == 0  # a long lens frames the middle only
    assert difference[..., 14:18].abs().max() > 0
