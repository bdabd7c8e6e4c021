"""Whole forward passes of TriPlaneNet against the authors' numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import goldens
import numpy as np
import pytest
import torch
from skimage.measure import marching_cubes
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from tpn_engine.nets.generator import GeneratedView, Generator
from tpn_engine.nets.labels import mirrored_label
from tpn_engine.nets.presets import (
    GeneratorPreset,
    Preset,
    RenderingPreset,
    SuperResolutionPreset,
    ffhq512_128,
)
from tpn_engine.nets.psp_encoder import PspEncoder
from tpn_engine.nets.triplanenet import Pivot, TriPlaneNet

Size = Literal["full", "tiny"]

TINY_GENERATOR = GeneratorPreset(
    z_dim=32,
    channel_base=1024,
    channel_max=16,
    render_resolution=32,
    rendering=RenderingPreset(depth_samples=12, importance_samples=12),
    super_resolution=SuperResolutionPreset(kind="2x", input_resolution=64),
    image_resolution=128,
)
SIZES = ["tiny", pytest.param("full", marks=pytest.mark.parity)]


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@dataclass(frozen=True)
class Portrait:
    photo: Tensor
    label: Tensor


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    dataset = goldens.Golden("dataset")
    return Portrait(dataset.tensor("x256"), dataset.tensor("label"))


def preset(version: Literal[1, 2], pixel_shuffle: bool, size: Size) -> Preset:
    official = ffhq512_128(version, pixel_shuffle)
    return official if size == "full" else replace(official, generator=TINY_GENERATOR)


@pytest.fixture(scope="module")
def psp_encoder() -> PspEncoder:
    """Most of the weights, and the same in all networks here: made once."""
    encoder = PspEncoder(ffhq512_128().psp, num_ws=14, w_dim=512).eval()
    goldens.fill(encoder, prefix="psp_encoder.")
    return encoder


def filled(configuration: Preset, psp_encoder: PspEncoder) -> TriPlaneNet:
    with torch.device("meta"):
        network = TriPlaneNet(configuration)
    network.psp_encoder = psp_encoder
    network.triplanenet_encoder.to_empty(device="cpu")
    goldens.fill(network.triplanenet_encoder, prefix="triplanenet_encoder.")
    network.decoder = Generator(configuration.generator)
    goldens.fill(network.decoder, prefix="decoder.")
    network.latent_avg = goldens.latent_avg()
    return network.eval()


def golden_of(name: str, size: Size) -> goldens.Golden:
    return goldens.Golden(name if size == "full" else f"{name}_tiny")


def pooled(view: GeneratedView) -> Tensor:
    return adaptive_avg_pool2d(view.image, 256)


def check_depth(golden: goldens.Golden, key: str, view: GeneratedView) -> None:
    """Depth means something only where something is covered."""
    golden.check(key, view.depth, mask=goldens.covered(view.weights))


@pytest.mark.parametrize(
    ("version", "pixel_shuffle", "network"),
    [
        (1, True, "triplanenet_v1"),
        (2, False, "triplanenet_v2_pixelshuffle_false"),
        (2, True, "triplanenet_v2_pixelshuffle_true"),
    ],
)
def test_state_dict(version: Literal[1, 2], pixel_shuffle: bool, network: str) -> None:
    with torch.device("meta"):
        built = TriPlaneNet(ffhq512_128(version, pixel_shuffle))
    assert goldens.state_shapes(built) == goldens.expected_shapes(network)


def test_mirrored_label(portrait: Portrait) -> None:
    goldens.Golden("dataset").check("label_mirror", mirrored_label(portrait.label))


@pytest.mark.parametrize("size", SIZES)
def test_version_1(portrait: Portrait, psp_encoder: PspEncoder, size: Size) -> None:
    network, golden = filled(preset(1, True, size), psp_encoder), golden_of("e2e_v1", size)
    pivot = network.pivot(portrait.photo)
    golden.check("v1.codes", pivot.codes)
    golden.check("v1.y_hat_psp", pooled(network.decoder.render(pivot.planes, pivot.codes, portrait.label)))

    planes = network.refine(pivot, portrait.photo, portrait.label)
    offsets = (planes - pivot.planes).flatten(1, 2)
    golden.check("v1.triplane_offsets", offsets)
    golden.check("v1.triplane_offsets_chmean", offsets.mean(dim=(2, 3)))
    if size == "full":
        golden.check("v1.shape_planes_const", planes.flatten(1, 2))
    view = network.decoder.render(planes, pivot.codes, portrait.label)
    golden.check("v1.y_hat", view.image)
    golden.check("v1.y_hat_sample", view.image)
    golden.check("v1.y_hat_256", pooled(view))
    novel = golden.tensor("c_novel")
    golden.check("v1.y_hat_novel_256", pooled(network.decoder.render(planes, pivot.codes, novel)))

    planes = network.refine(pivot, portrait.photo, portrait.label, cascade=True)
    golden.check("v1.cttr_triplane_offsets", (planes - pivot.planes).flatten(1, 2))
    view = network.decoder.render(planes, pivot.codes, portrait.label)
    golden.check("v1.cttr_y_hat", view.image)
    golden.check("v1.cttr_y_hat_sample", view.image)
    golden.check("v1.cttr_y_hat_novel_256", pooled(network.decoder.render(planes, pivot.codes, novel)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("pixel_shuffle", [False, True])
def test_version_2(portrait: Portrait, psp_encoder: PspEncoder, pixel_shuffle: bool, size: Size) -> None:
    network = filled(preset(2, pixel_shuffle, size), psp_encoder)
    golden = golden_of(f"e2e_v2_ps{int(pixel_shuffle)}", size)
    render, mirror = network.decoder.render, mirrored_label(portrait.label)

    pivot = network.pivot(portrait.photo)
    golden.check("v2.codes", pivot.codes)
    golden.check("v2.initial.triplanes", pivot.planes.flatten(1, 2))
    view = render(pivot.planes, pivot.codes, portrait.label)
    golden.check("v2.initial.y_hat_resized", pooled(view))
    check_depth(golden, "v2.initial.depth", view)
    golden.check("v2.initial.y_hat_novel_resized", pooled(render(pivot.planes, pivot.codes, mirror)))

    planes = network.refine(pivot, portrait.photo, portrait.label)
    golden.check("v2.triplanes_refined", planes.flatten(1, 2))
    golden.check("v2.triplanes_refined_chmean", planes.flatten(1, 2).mean(dim=(2, 3)))
    view = render(planes, pivot.codes, portrait.label)
    golden.check("v2.y_hat", view.image)
    golden.check("v2.y_hat_sample", view.image)
    golden.check("v2.y_hat_resized", pooled(view))
    check_depth(golden, "v2.depth", view)
    view = render(planes, pivot.codes, mirror)
    golden.check("v2.y_hat_novel_mirror_resized", pooled(view))
    check_depth(golden, "v2.depth_novel_mirror", view)
    if pixel_shuffle:
        return

    novel = golden_of("e2e_v1", size).tensor("c_novel")
    golden.check("v2.y_hat_novel_yaw0.3_resized", pooled(render(planes, pivot.codes, novel)))
    if size == "tiny":
        check_batch(network, portrait, golden)
    check_doubled_samples(network, portrait, golden, pivot, planes)


def check_batch(network: TriPlaneNet, portrait: Portrait, golden: goldens.Golden) -> None:
    """The portrait and its mirror image as one batch."""
    photos = torch.cat([portrait.photo, portrait.photo.flip(-1)])
    labels = torch.cat([portrait.label, mirrored_label(portrait.label)])
    pivot = network.pivot(photos)
    view = network.decoder.render(network.refine(pivot, photos, labels), pivot.codes, labels)
    golden.check("v2.batch2.y_hat_resized", pooled(view))
    check_depth(golden, "v2.batch2.depth", view)


def check_doubled_samples(
    network: TriPlaneNet, portrait: Portrait, golden: goldens.Golden, pivot: Pivot, planes: Tensor
) -> None:
    """The authors' inference script: twice the samples along each ray, from the same pivot."""
    rendering = network.decoder.preset.rendering
    doubled = replace(
        rendering,
        depth_samples=2 * rendering.depth_samples,
        importance_samples=2 * rendering.importance_samples,
    )
    network.decoder.preset = replace(network.decoder.preset, rendering=doubled)
    view = network.decoder.render(planes, pivot.codes, portrait.label)
    golden.check("v2.inference_double_samples.y_hat_refined_only", view.image)
    planes = network.refine(pivot, portrait.photo, portrait.label)
    view = network.decoder.render(planes, pivot.codes, portrait.label)
    golden.check("v2.inference_double_samples.y_hat", view.image)
    check_depth(golden, "v2.inference_double_samples.depth", view)


def official_sample_points(resolution: int) -> Tensor:
    """Where the authors evaluate the density, [resolution^3, 3]: sheared, for they divide as floats."""
    index = torch.arange(resolution**3, dtype=torch.int64)
    x = (index.float() / resolution) / resolution % resolution
    y = index.float() / resolution % resolution
    z = index % resolution
    return torch.stack([x, y, z.float()], dim=1) * (1.0 / (resolution - 1)) - 0.5


@pytest.mark.parity
def test_shape(portrait: Portrait, psp_encoder: PspEncoder) -> None:
    network, golden = filled(preset(2, False, "full"), psp_encoder), goldens.Golden("shape_v2")
    golden.check("create_samples64", official_sample_points(64)[None])
    golden.check("create_samples256", official_sample_points(256)[None])
    pivot = network.pivot(portrait.photo)
    field = network.decoder.field(network.refine(pivot, portrait.photo, portrait.label)[0])
    for resolution in (64, 128):
        points = official_sample_points(resolution)
        density = torch.cat([field.density(part) for part in points.split(2**18)])
        border = golden.entries[f"pad{resolution}"]
        inner = density.view(resolution, resolution, resolution).flip(0)[(slice(border, -border),) * 3]
        golden.check(f"sigma{resolution}_inner_sample", inner)
        grid = torch.full((resolution,) * 3, -1000.0)
        grid[(slice(border, -border),) * 3] = inner
        golden.check(f"sigma{resolution}", grid)

        vertices, faces, _, _ = marching_cubes(grid.numpy().transpose(2, 1, 0), level=10.0)
        counts = golden.entries[f"mc{resolution}"]
        assert (len(vertices), len(faces)) == (counts["vertices"], counts["faces"])
        check_vertices(golden, f"mc{resolution}_vertices_sorted", vertices)


def check_vertices(golden: goldens.Golden, key: str, vertices: np.ndarray) -> None:
    """Sorted vertices, in voxels; where coordinates nearly tie, rounding may change the order."""
    ordered = torch.from_numpy(np.unique(vertices, axis=0))
    sample = ordered.numpy().ravel()[:: golden.entries[key]["stride"]]
    in_place = np.abs(sample - golden.stored[key].ravel()) < 0.01
    assert in_place.mean() > 0.99
    golden.check(key, ordered, mask=in_place)
