"""TriPlaneNet at the embedded model's preset: shapes, repeatability and gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.errors import ModelError
from tpn_engine.nets.field import sample_detail, sample_planes
from tpn_engine.nets.presets import Preset, RefinerPreset, synthetic_heads
from tpn_engine.nets.refiner import Refiner
from tpn_engine.nets.triplanenet import Pivot, TriPlaneNet

PRESET = synthetic_heads()


def build(preset: Preset = PRESET) -> TriPlaneNet:
    torch.manual_seed(1)
    return TriPlaneNet(preset).eval()


def portraits(count: int = 1, size: int = 512, channels: int = 4) -> tuple[Tensor, Tensor]:
    photos = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(2)) * 2 - 1
    labels = torch.from_numpy(Camera.orbit(20, -10).label).expand(count, -1)
    return photos, labels


def with_refiner(**changes: object) -> Preset:
    return replace(PRESET, refiner=replace(PRESET.refiner, **changes))


def version_1(pixel_shuffle: bool = False) -> Preset:
    preset = with_refiner(version=1, pictures="camera", passes=1, behind=False, finer=1, pixel_shuffle=pixel_shuffle)
    return replace(preset, matted=False)


@torch.no_grad()
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pixel_shuffle", [False, True])
def test_planes_have_the_presets_shape(version: int, pixel_shuffle: bool) -> None:
    preset = version_1(pixel_shuffle) if version == 1 else with_refiner(pixel_shuffle=pixel_shuffle)
    network = build(preset)
    photos, labels = portraits(channels=preset.photo_channels)
    pivot = network.pivot(photos)
    assert pivot.codes.shape == (1, network.decoder.num_ws, PRESET.generator.w_dim)
    assert pivot.planes.shape == (1, 3, 32, 128, 128)
    planes = network.refine(pivot, photos, labels)
    assert planes.shape == ((1, 3, 32, 128, 128) if version == 1 else (1, 4, 32, 256, 256))
    coarse = torch.nn.functional.avg_pool2d(planes[0, :3], planes.shape[-1] // 128)
    assert not torch.allclose(coarse, pivot.planes[0], atol=1e-3)


@torch.no_grad()
def test_the_same_portrait_gives_the_same_planes_and_leaves_the_pivot() -> None:
    network = build()
    photos, labels = portraits()
    pivot = network.pivot(photos)
    before = pivot.planes.clone()
    assert torch.equal(network.refine(pivot, photos, labels), network.refine(pivot, photos, labels))
    assert torch.equal(pivot.planes, before)
    assert torch.equal(network.pivot(photos).codes, pivot.codes)


@torch.no_grad()
def test_a_batch_gives_what_each_portrait_gives_alone() -> None:
    network = build()
    photos, labels = portraits(2, size=128)
    together = network.refine(network.pivot(photos), photos, labels)
    for index in range(2):
        photo, label = photos[index : index + 1], labels[index : index + 1]
        alone = network.refine(network.pivot(photo), photo, label)
        torch.testing.assert_close(alone, together[index : index + 1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_codes_are_relative_to_the_average_code() -> None:
    network = build()
    photos, _ = portraits(size=128)
    start = network.pivot(photos).codes
    network.latent_avg += 0.5
    torch.testing.assert_close(network.pivot(photos).codes, start + 0.5)
    assert "latent_avg" not in network.state_dict()


def test_gradients_reach_every_weight_of_both_encoders() -> None:
    network = build()
    network.decoder.requires_grad_(False)
    network.psp_encoder.train()
    network.triplanenet_encoder.train()
    photos, labels = portraits(2, size=128)
    planes = network.refine(network.pivot(photos), photos, labels)
    planes.square().mean().backward()
    for encoder in (network.psp_encoder, network.triplanenet_encoder):
        for name, parameter in encoder.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_cascade_is_version_1s() -> None:
    photos, labels = portraits(size=128, channels=3)
    network = build(version_1())
    pivot = network.pivot(photos)
    once = network.refine(pivot, photos, labels)
    assert not torch.equal(network.refine(pivot, photos, labels, cascade=True), once)
    network = build()
    photos, labels = portraits(size=128)
    with pytest.raises(ModelError, match="version 1"):
        network.refine(network.pivot(photos), photos, labels, cascade=True)


def test_pictures_of_the_front_are_for_version_2() -> None:
    with pytest.raises(ModelError, match="version 2"):
        build(with_refiner(version=1))


def test_a_matte_belongs_to_pictures_of_the_front() -> None:
    with pytest.raises(ModelError, match="matte"):
        build(with_refiner(pictures="camera"))


@torch.no_grad()
def test_the_second_pass_refines_what_the_first_made() -> None:
    network = build()
    photos, labels = portraits(size=128)
    pivot = network.begin(network.pivot(photos))
    first = Pivot(pivot.codes, network.refine_from(network.pictures(pivot, photos, labels), pivot))
    second = network.refine_from(network.pictures(first, photos, labels), first)
    assert torch.equal(network.refine_coarsely(network.pivot(photos), photos, labels), second)
    assert not torch.equal(first.planes, second)


@torch.no_grad()
def test_detail_is_added_to_the_first_of_the_enlarged_planes() -> None:
    network = build()
    photos, labels = portraits(size=256)
    pivot = network.pivot(photos)
    coarse, refined = network.refine_coarsely(pivot, photos, labels), network.refine(pivot, photos, labels)
    fine = network.enlarged(coarse)
    assert torch.equal(refined[:, 1:], fine[:, 1:])
    offset = network.detail(network.front(coarse, 256), fine, photos, labels)
    torch.testing.assert_close(refined[:, 0] - fine[:, 0], offset)
    points = torch.rand(1, 500, 3) - 0.5
    box, axes = PRESET.generator.box, PRESET.generator.plane_axes
    expected = sample_planes(fine, points, axes, box) + sample_detail(offset, points, 4, box)
    torch.testing.assert_close(sample_planes(refined, points, axes, box), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_detail_is_what_only_a_finer_picture_shows() -> None:
    network = build()
    photos, labels = portraits(size=256)
    # Up to where a photo of half the size differs: its pixels are the means of four.
    averaged = torch.nn.functional.avg_pool2d(photos, 2).repeat_interleave(2, -1).repeat_interleave(2, -2)
    pivot = network.pivot(photos)
    coarse = network.refine_coarsely(pivot, photos, labels)
    torch.testing.assert_close(network.refine_coarsely(pivot, averaged, labels), coarse, rtol=1e-4, atol=1e-5)
    fine, surface = network.enlarged(coarse), network.front(coarse, 256)
    detail, plain = (network.detail(surface, fine, photo, labels) for photo in (photos, averaged))
    assert (detail - plain).abs().max() > 1e-3 * detail.std()


def test_finer_planes_need_pictures_of_the_front() -> None:
    preset = replace(with_refiner(pictures="camera", behind=False), matted=False)
    with pytest.raises(ModelError, match="Finer"):
        build(preset)


def test_refinement_and_planes_must_have_one_resolution() -> None:
    with pytest.raises(ModelError, match="same resolution"):
        Refiner(RefinerPreset(resolution=256), plane_channels=96, plane_resolution=128)


def test_the_embedded_model_fits_into_40_megabytes_of_halves() -> None:
    with torch.device("meta"):
        network = TriPlaneNet(PRESET)
    assert sum(value.numel() for value in network.state_dict().values()) * 2 <= 40e6
