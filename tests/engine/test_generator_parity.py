"""The generator against the authors' numbers: cameras, rays, operations, tiny and full configurations."""

from __future__ import annotations

import math
from dataclasses import replace

import goldens
import numpy as np
import pytest
import torch
from goldens import Golden, analytic_maps, covered, make_input, relative_error
from PIL import Image
from torch import Tensor

from tpn_engine.camera import Camera, focal_length
from tpn_engine.nets.box import Box
from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.discriminator import (
    ConvLayer,
    Discriminator,
    DualDiscriminator,
    minibatch_deviation,
)
from tpn_engine.nets.field import TriplaneField, plane_coordinates, sample_planes
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.labels import mirrored_label
from tpn_engine.nets.layers import (
    FullyConnected,
    downsample2d,
    filter2d,
    modulated_conv2d,
    normalize_second_moment,
    resample_filter,
    resize2d,
    upsample2d,
    upsampling_conv2d,
)
from tpn_engine.nets.presets import (
    DiscriminatorPreset,
    GeneratorPreset,
    RenderingPreset,
    SuperResolutionKind,
    SuperResolutionPreset,
)
from tpn_engine.nets.stylegan2 import MappingNetwork, ToImage
from tpn_engine.nets.superresolution import SuperResolution
from tpn_engine.nets.triplanenet import resized
from tpn_engine.nets.volume import (
    Rendering,
    box_limits,
    composite,
    importance_depths,
    interval_weights,
    inverse_transform_depths,
    ray_limits,
    rays,
    render_rays,
    stratified_depths,
)

TOLERANCE = goldens.RELATIVE_TOLERANCE


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def ops() -> Golden:
    return Golden("camera_ops")


# ---- cameras and rays ----------------------------------------------------------------------------


def pitch_degrees(pitch: float) -> float:
    """Our pitch of the authors' vertical angle pi/2 + pitch, which they map to the height linearly."""
    return math.degrees(math.asin(-2 * pitch / math.pi))


def test_orbit_cameras(ops: Golden):
    reference = ops.tensor("camera.lookat_pivot_0_0_0.2_r2.7")
    for i, yaw in enumerate(ops.entries["camera.yaws"]):
        for j, pitch in enumerate(ops.entries["camera.pitches"]):
            camera = Camera.orbit(math.degrees(yaw), pitch_degrees(pitch), look_at=(0, 0, 0.2), radius=2.7)
            assert relative_error(camera.pose, reference[i, j]) <= TOLERANCE


def test_orbit_cameras_around_the_origin(ops: Golden):
    reference = ops.tensor("camera.lookat_pivot_0_r1.7_314")
    for i, yaw in enumerate(ops.entries["camera.yaws"]):
        yaw_degrees = math.degrees(yaw + 3.14 / 2 - math.pi / 2)
        pitch = pitch_degrees(3.14 / 2 - 0.05 - math.pi / 2)
        camera = Camera.orbit(yaw_degrees, pitch, look_at=(0, 0, 0), radius=1.7)
        assert relative_error(camera.pose, reference[i]) <= TOLERANCE


def test_steep_cameras_stay_off_the_poles(ops: Golden):
    reference = ops.tensor("camera.lookat_pitch_clamp")
    for pitch, pose in ((90.0, reference[0]), (-90.0, reference[2])):
        assert relative_error(Camera.orbit(0.0, pitch, look_at=(0, 0, 0.2)).pose, pose) <= TOLERANCE


def test_cameras_of_the_gaussian_sampler_without_spread(ops: Golden):
    reference = ops.tensor("camera.gaussian_zero_std")
    height = float(reference[0, 1, 3]) / 2.7
    for yaw, pose in zip(ops.entries["camera.yaws"], reference, strict=True):
        camera = Camera.orbit(math.degrees(yaw), math.degrees(math.asin(height)), look_at=(0, 0, 0))
        assert relative_error(camera.pose, pose) <= TOLERANCE


def test_focal_length_of_a_field_of_view(ops: Golden):
    for angle, matrix in zip(ops.entries["camera.fovs"], ops.tensor("camera.fov_to_intrinsics"), strict=True):
        intrinsics = Camera.orbit(0.0, 0.0, focal=focal_length(angle)).intrinsics
        assert relative_error(intrinsics, matrix) <= TOLERANCE


def test_mirrored_label(ops: Golden):
    mirrored = Camera.from_label(ops.tensor("camera.label").numpy()).mirrored()
    assert relative_error(mirrored.label, ops.tensor("camera.label_mirror")) <= TOLERANCE


def test_rays(ops: Golden):
    label = torch.cat([ops.tensor("rays.cam2world").flatten(1), ops.tensor("rays.intrinsics").flatten(1)], dim=1)
    origins, directions = rays(label, 16)
    ops.check("rays.origins16", origins[:, :1])
    ops.check("rays.dirs16", directions)
    ops.check("rays.dirs128", rays(label, 128)[1])


def test_box_limits(ops: Golden):
    pose = ops.tensor("rays.cam2world")
    origins = pose[:, None, :3, 3].expand(-1, 256, -1)
    start, end = box_limits(origins, ops.tensor("box.dirs16"), Box())
    hit = ops.tensor("box.end") > ops.tensor("box.start")
    assert not hit.all()
    assert relative_error(start[hit], ops.tensor("box.start")[hit]) <= TOLERANCE
    assert relative_error(end[hit], ops.tensor("box.end")[hit]) <= TOLERANCE
    assert (start[~hit] == start[hit].min()).all()
    assert (end[~hit] == start[hit].max()).all()


def test_plane_sampling(ops: Golden):
    points = ops.tensor("planes.points")
    coordinates = plane_coordinates(points, "xy_xz_zx").transpose(0, 1).flatten(0, 1)
    ops.check("planes.projected", coordinates)
    onto_axes = plane_coordinates(torch.eye(3), "xy_xz_zx")
    assert torch.equal(onto_axes, ops.tensor("planes.inverse")[..., :2])
    assert torch.equal(torch.linalg.inv(ops.tensor("planes.axes"))[..., :2], onto_axes)
    planes = ops.tensor("planes.features")
    for warp, key in ((1.0, "planes.sampled_warp1"), (1.6, "planes.sampled_warp1.6")):
        sampled = sample_planes(planes, points, "xy_xz_zx", Box(warp))
        assert relative_error(sampled, ops.tensor(key).mean(dim=1)) <= TOLERANCE


def test_stratified_depths(ops: Golden):
    linear = RenderingPreset(depth_samples=12)
    for preset, key in ((linear, "linear12"), (replace(linear, spacing="disparity"), "disparity12")):
        start, end = ray_limits(torch.zeros(1, 3, 3), torch.ones(1, 3, 3), Box(), preset)
        ops.check(f"strat.{key}", stratified_depths(start, end, preset, None)[..., None])
    start, end = torch.tensor([[[2.0], [2.1], [2.2]]]), torch.tensor([[[3.0], [3.0], [3.0]]])
    ops.check("strat.tensor12", stratified_depths(start, end, linear, None)[..., None])


def test_strata_start_on_an_even_grid(ops: Golden):
    reference = ops.tensor("linspace.tensor")[..., 0]
    start, end = reference[:1].t()[None], reference[-1:].t()[None]
    depths = stratified_depths(start, end, RenderingPreset(depth_samples=5), None)
    grid = depths - (end - start) / 8  # each sample lies in the middle of its stratum
    assert relative_error(grid[0].t(), reference) <= TOLERANCE


def test_ray_marching(ops: Golden):
    colors, densities, depths = (ops.tensor(f"march.{k}") for k in ("colors", "densities", "depths"))
    depths = depths[..., 0]
    weights = interval_weights(depths, densities[..., 0])
    for white in (False, True):
        features, depth, coverage = composite(depths, weights, [colors], white_background=white)
        suffix = f"wb{int(white)}"
        ops.check(f"march.weights_{suffix}", weights[..., None])
        ops.check(f"march.rgb_{suffix}", features)
        ops.check(f"march.depth_{suffix}", depth.clamp(depths.min(), depths.max()))
        assert torch.allclose(coverage[..., 0], weights.sum(dim=-1))


def test_importance_sampling(ops: Golden):
    samples = inverse_transform_depths(ops.tensor("pdf.bins"), ops.tensor("pdf.weights"), 12, None)
    ops.check("pdf.samples_det12", samples)
    depths = importance_depths(ops.tensor("imp.zvals")[..., 0], ops.tensor("imp.weights")[..., 0], 12, None)
    ops.check("imp.fine12", depths[..., None])


# ---- operations ----------------------------------------------------------------------------------


def test_resampling(ops: Golden):
    kernel = resample_filter()
    ops.check("ops.filter", kernel)
    ops.check("ops.upsample2d", upsample2d(ops.tensor("ops.x")))
    ops.check("ops.downsample2d", downsample2d(ops.tensor("ops.x"), kernel))
    ops.check("ops.conv_up2", upsampling_conv2d(ops.tensor("ops.x8"), ops.tensor("ops.w3"), kernel))
    ops.check("ops.filtered_resizing_aa_up", resize2d(ops.tensor("ops.x8"), 16))
    ops.check("ops.filtered_resizing_aa_down", resize2d(ops.tensor("ops.x8"), 5))


def test_filters(ops: Golden):
    x = ops.tensor("ops.x")
    ops.check("ops.filter2d", filter2d(x, resample_filter(), (2, 1, 2, 1)))
    kernel = ops.tensor("ops.filter_asym")
    spread = torch.zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    spread[..., ::2, ::2] = x
    for key, taps in (("ops.upfirdn_asym", kernel), ("ops.upfirdn_asym_flip", kernel.flip((0, 1)))):
        ops.check(key, filter2d(spread, taps * 1.7, (2, 1, -1, 3), stride=3))


def test_enlarged_one_pixel_convolution(ops: Golden):
    convolved = torch.nn.functional.conv2d(ops.tensor("ops.x8"), ops.tensor("ops.w1"))
    ops.check("ops.conv1x1_up2", upsample2d(convolved))


def test_bias_and_activation(ops: Golden):
    x, bias = ops.tensor("ops.x"), ops.tensor("ops.b")
    for key, gain, clamp in (("lrelu", 1.0, math.inf), ("lrelu_gain_clamp", 0.7 / math.sqrt(2), 0.5)):
        layer = ConvLayer(3, 3, 1, gain=gain, clamp=clamp / gain)
        layer.weight.copy_(torch.eye(3)[..., None, None] / layer.weight_gain)
        assert layer.bias is not None
        layer.bias.copy_(bias)
        ops.check(f"ops.bias_act_{key}", layer(x))
    image = ToImage(3, 3, 1, clamp=0.5)
    image.weight.copy_(torch.eye(3)[..., None, None] / image.gain)
    image.bias.copy_(bias)
    image.affine.weight.zero_()
    ops.check("ops.bias_act_linear_clamp", image(x, torch.zeros(2, 1)))


@pytest.mark.parametrize(("key", "weight"), [("ops.conv_down2", "ops.w3"), ("ops.conv1x1_down2", "ops.w1")])
def test_downsampling_convolution(ops: Golden, key: str, weight: str):
    values = ops.tensor(weight)
    layer = ConvLayer(3, 4, values.shape[-1], downsample=True, activate=False, clamp=math.inf)
    layer.weight.copy_(values / layer.weight_gain)
    ops.check(key, layer(ops.tensor("ops.x8")))


@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution(ops: Golden, demodulate: bool):
    x, weight, styles = (ops.tensor(f"ops.{k}") for k in ("x8", "w3", "styles"))

    def convolve(first: int, last: int) -> Tensor:
        return modulated_conv2d(
            x[first:last],
            weight,
            styles[first:last],
            ops.tensor("ops.noise"),
            resample_filter(),
            demodulate=demodulate,
        )

    for y in (convolve(0, 2), torch.cat([convolve(0, 1), convolve(1, 2)])):
        ops.check(f"ops.modconv_up2_demod{int(demodulate)}_fused1", y)


def test_to_image_convolution(ops: Golden):
    x, weight, styles = (ops.tensor(f"ops.{k}") for k in ("x8", "w1", "styles"))
    ops.check("ops.modconv_1x1_nodemod", modulated_conv2d(x, weight, styles, torch.zeros(1), demodulate=False))


def test_fully_connected(ops: Golden):
    layer = FullyConnected(6, 5, lr_multiplier=0.01, leaky=True)
    goldens.fill(layer, prefix="mapping.fc0.")
    ops.check("ops.fc_lr0.01", layer(ops.tensor("ops.fc_in")))
    ops.check("ops.normalize_2nd_moment", normalize_second_moment(ops.tensor("ops.fc_in")))


def test_minibatch_deviation(ops: Golden):
    x = ops.tensor("ops.mbstd_in")
    ops.check("ops.mbstd_g4", minibatch_deviation(x, 4)[:, 3])
    ops.check("ops.mbstd_gNone", minibatch_deviation(x, None)[:, 3])


# ---- modules -------------------------------------------------------------------------------------


def test_mapping():
    golden = Golden("mapping")
    network = MappingNetwork(512, 25, 512, 2, track=True)
    goldens.fill(network, prefix="backbone.mapping.", network="eg3d_ffhq512_128")
    with torch.device("meta"):
        generator = Generator(GeneratorPreset())
    generator.backbone.mapping = network
    z, label = make_input("mapping.z", (4, 512)), golden.tensor("mapping.c")
    golden.check("mapping.embed", network.embed(label))
    for psi, cutoff in ((1, None), (0.7, None), (0.5, 7), (0.7, 14)):
        ws = generator.mapping(z, label, psi, cutoff)
        for i in (0, 13):
            golden.check(f"mapping.w{i}_psi{psi}_cut{cutoff}", ws[:, i])
    golden.check("mapping.w0_czero", network(z, torch.zeros_like(label)))


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    module = Decoder()
    goldens.fill(module, prefix="decoder.", network="eg3d_ffhq512_128")
    return module


def test_decoder(decoder: Decoder):
    golden = Golden("osg_decoder")
    density, color = decoder(make_input("decoder.features", (2, 3, 500, 32), 2.2).mean(dim=1))
    golden.check("decoder.sigma", density)
    golden.check("decoder.rgb", color)
    density, color = decoder(torch.zeros(1, 1, 32))
    golden.check("decoder.zero_sigma", density)
    golden.check("decoder.zero_rgb", color)


@pytest.fixture(scope="module")
def renderer() -> Golden:
    return Golden("renderer")


@pytest.fixture(scope="module")
def analytic_planes() -> Tensor:
    return analytic_maps("renderer.planes", (3, 32), 256, amp=3.4, freq=2.0)[None]


def render(
    planes: Tensor,
    decoder: Decoder,
    label: Tensor,
    resolution: int,
    preset: RenderingPreset | None = None,
    box_warp: float = 1.0,
) -> Rendering:
    planes = planes.expand(len(label), -1, -1, -1, -1)
    return render_rays(
        planes, decoder, "xy_xz_zx", Box(box_warp), *rays(label, resolution), preset or RenderingPreset()
    )


def test_field(renderer: Golden, analytic_planes: Tensor, decoder: Decoder):
    renderer.check("renderer.analytic_planes", analytic_planes)
    field = TriplaneField(analytic_planes[0], decoder, "xy_xz_zx", Box())
    density, color = field.sample(make_input("renderer.points", (1, 2000, 3), 0.3)[0])
    renderer.check("renderer.run_model_sigma", density[None])
    renderer.check("renderer.run_model_rgb", color[None])


def test_rendering_of_a_batch(renderer: Golden, analytic_planes: Tensor, decoder: Decoder):
    result = render(analytic_planes, decoder, renderer.tensor("renderer.c"), 32)
    renderer.check("renderer.batch2_rgb32", result.features)
    renderer.check("renderer.batch2_depth32", result.depth, mask=covered(result.weights))
    renderer.check("renderer.batch2_weights32", result.weights)


RENDERINGS = {
    "white_back": RenderingPreset(white_background=True),
    "disparity": RenderingPreset(spacing="disparity"),
    "auto": RenderingPreset(box_limits=True),
    "coarse_only": RenderingPreset(importance_samples=0),
    "d96": RenderingPreset(depth_samples=96, importance_samples=96),
    "shapenet": RenderingPreset(
        ray_start=0.1, ray_end=2.6, depth_samples=64, importance_samples=64, white_background=True
    ),
}


@pytest.mark.parametrize("name", RENDERINGS)
def test_rendering_options(renderer: Golden, analytic_planes: Tensor, decoder: Decoder, name: str):
    box_warp = renderer.entries[f"renderer.{name}.overrides"].get("box_warp", 1.0)
    label = renderer.tensor(f"renderer.{name}.c")
    result = render(analytic_planes, decoder, label, 32, RENDERINGS[name], box_warp)
    renderer.check(f"renderer.{name}.rgb32", result.features)
    renderer.check(f"renderer.{name}.weights32", result.weights)
    renderer.check(
        f"renderer.{name}.depth32", result.depth, mask=covered(renderer.tensor(f"renderer.{name}.weights32"))
    )


@pytest.mark.parity
def test_rendering_at_full_size(renderer: Golden, analytic_planes: Tensor, decoder: Decoder):
    result = render(analytic_planes, decoder, renderer.tensor("renderer.c")[:1], 128)
    renderer.check("renderer.rgb128", result.features)
    renderer.check("renderer.rgb128_first3", result.features[..., :3])
    renderer.check("renderer.depth128", result.depth, mask=covered(result.weights))
    renderer.check("renderer.weights128", result.weights)


@pytest.mark.parametrize(
    ("kind", "input_resolution", "name", "resolutions"),
    [
        pytest.param("8xdc", 128, "8XDC", (128, 64, 256), marks=pytest.mark.parity),
        pytest.param("8x", 128, "8X", (128,), marks=pytest.mark.parity),
        pytest.param("4x", 128, "4X", (128, 64), marks=pytest.mark.parity),
        ("2x", 64, "2X", (64, 32, 96)),
    ],
)
def test_superresolution(kind: SuperResolutionKind, input_resolution: int, name: str, resolutions: tuple[int, ...]):
    golden = Golden("superresolution")
    module = SuperResolution(SuperResolutionPreset(kind, input_resolution), 32, 512)
    goldens.fill(module, prefix="superresolution.")
    ws = make_input("ws_plus", (1, 14, 512), 0.7)
    for resolution in resolutions:
        features = analytic_maps("sr.features", (1, 32), resolution, amp=0.8, freq=3.0)
        golden.check(f"sr.{name}.out{resolution}", module(features, ws))
    if kind == "8xdc":
        features = analytic_maps("sr.features", (1, 32), 128, amp=0.8, freq=3.0)
        golden.check("sr.8XDC.out128_sample", module(features, ws))


# ---- whole generators ----------------------------------------------------------------------------

TINY: dict[str, tuple[SuperResolutionKind, int]] = {
    "tiny128": ("2x", 64),
    "tiny256": ("4x", 128),
    "tiny512": ("8xdc", 128),
}


def tiny_preset(name: str) -> GeneratorPreset:
    kind, input_resolution = TINY[name]
    return GeneratorPreset(
        z_dim=32,
        channel_base=1024,
        channel_max=16,
        render_resolution=32,
        rendering=RenderingPreset(depth_samples=12, importance_samples=12),
        super_resolution=SuperResolutionPreset(kind, input_resolution),
        image_resolution=int(name.removeprefix("tiny")),
    )


def test_official_keys():
    with torch.device("meta"):
        ffhq = Generator(GeneratorPreset())
        cars = Generator(GeneratorPreset(super_resolution=SuperResolutionPreset("2x", 64), image_resolution=128))
    assert goldens.state_shapes(ffhq) == goldens.expected_shapes("eg3d_ffhq512_128")
    assert goldens.state_shapes(cars) == goldens.expected_shapes("eg3d_shapenetcars128_64")


@pytest.mark.parametrize("name", ["tiny128", "tiny256", pytest.param("tiny512", marks=pytest.mark.parity)])
def test_tiny_generator(name: str):
    golden = Golden(name)
    generator = Generator(tiny_preset(name))
    shapes = {key: tuple(shape) for key, shape in golden.entries["state_keys"].items()}
    assert goldens.state_shapes(generator) == shapes
    goldens.fill(generator)
    label = golden.tensor("tiny.c")
    ws = generator.mapping(make_input("tiny.z", (2, 32)), label, 0.7)
    golden.check("tiny.ws0", ws[:, 0])
    planes = generator.planes(ws)
    golden.check("tiny.planes", planes.flatten(1, 2), floor=("tiny128", "planes"))
    view = generator.render(planes, ws, label)
    golden.check("tiny.image", view.image, floor=("tiny128", "image"))
    golden.check("tiny.image_raw", view.raw, floor=("tiny128", "image_raw"))
    golden.check("tiny.image_depth", view.depth, floor=("tiny128", "image_depth"), mask=covered(view.weights))

    without_noise = generator.planes(ws[:1], noise="none")
    view = generator.render(without_noise, ws[:1], label[:1], resolution=16)
    golden.check("tiny.nrr16_noise_none_image", view.image)
    golden.check("tiny.nrr16_noise_none_raw", view.raw)

    native = generator.render(planes[:1], ws[:1], label[:1], resolution=TINY[name][1])
    golden.check("tiny.native_image", native.image)
    golden.check("tiny.native_image_raw_before_sr", native.raw)

    offsets = analytic_maps("tiny.offsets", (2, 96), 256, amp=0.5, freq=3.0)
    moved = generator.render_raw(planes + offsets.unflatten(1, (3, 32)), label)
    golden.check("tiny.v1_offsets_image_raw", moved.image)

    points = make_input("tiny.points", (2, 500, 3), 0.3)
    sampled = [generator.field(planes[i]).sample(points[i]) for i in range(2)]
    golden.check("tiny.sample_sigma", torch.stack([density for density, _ in sampled]))
    golden.check("tiny.sample_rgb", torch.stack([color for _, color in sampled]))


@pytest.fixture(scope="module")
def ffhq() -> Generator:
    generator = Generator(GeneratorPreset())
    goldens.fill(generator, network="eg3d_ffhq512_128")
    return generator


@pytest.mark.parity
def test_full_synthesis(ffhq: Generator):
    golden = Golden("backbone")
    mapped = ffhq.mapping(make_input("z", (1, 512)), golden.tensor("backbone.c")[:1])
    golden.check("backbone.ws_map", mapped[:, 0])
    plus = make_input("ws_plus", (1, 14, 512), 0.7)
    blocks = {}
    hooks = [
        block.register_forward_hook(lambda *call, name=name: blocks.update({name: call[2]}))
        for name, block in ffhq.backbone.synthesis.named_children()
    ]
    planes = ffhq.planes(plus).flatten(1, 2)
    for hook in hooks:
        hook.remove()
    for name, (x, image) in blocks.items():
        golden.check(f"backbone.block.{name}.x", x)
        golden.check(f"backbone.block.{name}.img", image)
    golden.check("backbone.planes_ws_plus_const", planes)
    golden.check("backbone.planes_ws_plus_const_chmean", planes.mean(dim=(2, 3)))
    planes = ffhq.planes(mapped).flatten(1, 2)
    golden.check("backbone.planes_ws_map_const", planes, floor=("full_ffhq512_128", "planes"))
    golden.check("backbone.planes_ws_map_const_chmean", planes.mean(dim=(2, 3)))
    golden.check("backbone.planes_ws_plus_none", ffhq.planes(plus, noise="none").flatten(1, 2))
    golden.check("backbone.planes_batch2", ffhq.planes(torch.cat([plus, mapped])).flatten(1, 2))


@pytest.mark.parity
def test_full_generator(ffhq: Generator, renderer: Golden):
    golden = Golden("generator_full")
    ws = ffhq.mapping(make_input("z", (1, 512)), Golden("backbone").tensor("backbone.c")[:1])
    planes = ffhq.planes(ws)
    view = ffhq.render(planes, ws, golden.tensor("generator.c"))
    golden.check("generator.image", view.image)
    for key, output, quantity, mask in (
        ("generator.image_sample", view.image, "image", None),
        ("generator.image_raw", view.raw, "image_raw", None),
        ("generator.image_depth", view.depth, "image_depth", covered(view.weights)),
    ):
        golden.check(key, output, floor=("full_ffhq512_128", quantity), mask=mask)
    features = ffhq.render_raw(planes, golden.tensor("generator.c")).features
    renderer.check("renderer.backbone_rgb128", features.flatten(2).transpose(1, 2))
    renderer.check("renderer.backbone_depth128", view.depth.view(1, -1, 1), mask=covered(view.weights))
    renderer.check("renderer.backbone_weights128", view.weights.view(1, -1, 1))

    view = ffhq.render(planes, ws, golden.tensor("generator.nrr64_c"), resolution=64)
    golden.check("generator.nrr64_image", view.image)
    golden.check("generator.nrr64_image_raw", view.raw)
    golden.check("generator.nrr64_image_depth", view.depth, mask=covered(view.weights))


# ---- discriminators ------------------------------------------------------------------------------


def test_discriminator_keys():
    with torch.device("meta"):
        plain = Discriminator(DiscriminatorPreset())
        dual = DualDiscriminator(DiscriminatorPreset(image_channels=6, label_dim=25, group_size=4))
    assert goldens.state_shapes(plain) == goldens.expected_shapes("discriminator_v2_coach_ada")
    assert goldens.state_shapes(dual) == goldens.expected_shapes("discriminator_eg3d_dual512")


@pytest.mark.parity
def test_discriminators():
    golden = Golden("discriminators")
    image = analytic_maps("disc.image", (4, 3), 512, amp=0.8, freq=3.0)
    raw = analytic_maps("disc.raw", (4, 3), 128, amp=0.8, freq=3.0)
    plain = Discriminator(DiscriminatorPreset())
    goldens.fill(plain, network="discriminator_v2_coach_ada")
    golden.check("disc.v2_ada_batch4", plain(image))
    golden.check("disc.v2_ada_single", plain(image[:1]))
    dual = DualDiscriminator(DiscriminatorPreset(image_channels=6, label_dim=25, group_size=4))
    goldens.fill(dual, network="discriminator_eg3d_dual512")
    golden.check("disc.dual_batch4", dual(image, raw, make_input("disc.c", (4, 25))))


# ---- input ---------------------------------------------------------------------------------------


def test_input_picture():
    """The authors' input: resized bilinearly without antialias; a mirrored picture has a mirrored label."""
    golden = Golden("dataset")
    pixels = np.asarray(Image.open(goldens.folder() / "dataset" / "synthetic.png").convert("RGB"))
    photo = torch.from_numpy(pixels.astype(np.float64) / 127.5 - 1).permute(2, 0, 1)[None]
    golden.check("x512", photo)
    golden.check("x256", resized(photo, 256))
    golden.check("xm256", resized(photo.flip(3), 256))
    label = np.float32(goldens.read_json("dataset/dataset")["labels"][0][1])
    golden.check("label", torch.from_numpy(label)[None])
    golden.check("label_mirror", mirrored_label(torch.from_numpy(label)[None]))
