"""pSp encoder, refinement auto-encoder and identity network against the authors' numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import goldens
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d

from tpn_engine.nets.irse import CURRICULARFACE_IR101, IdentityNetwork
from tpn_engine.nets.presets import ffhq512_128
from tpn_engine.nets.psp_encoder import PspEncoder
from tpn_engine.nets.refiner import Refiner
from tpn_engine.nets.triplanenet import resized

NETWORKS = {
    "v1": (ffhq512_128(1), "triplanenet_v1"),
    "v2_ps0": (ffhq512_128(2, pixel_shuffle=False), "triplanenet_v2_pixelshuffle_false"),
    "v2_ps1": (ffhq512_128(2, pixel_shuffle=True), "triplanenet_v2_pixelshuffle_true"),
}


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def photo() -> Tensor:
    return goldens.Golden("dataset").tensor("x256")


@contextmanager
def recorded(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Outputs of the modules while they run, by name."""
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[name] = output.clone()

        return keep

    hooks = [module.register_forward_hook(keeper(name)) for name, module in modules.items()]
    yield outputs
    for hook in hooks:
        hook.remove()


def test_photos_are_resized_as_in_training(photo: Tensor) -> None:
    with Image.open(goldens.folder() / "dataset" / "synthetic.png") as file:
        pixels = torch.frombuffer(bytearray(file.convert("RGB").tobytes()), dtype=torch.uint8)
        large = (pixels.view(1, file.height, file.width, 3).permute(0, 3, 1, 2) / 127.5 - 1).contiguous()
    dataset = goldens.Golden("dataset")
    dataset.check("x512", large)
    dataset.check("x256", resized(large, 256))
    dataset.check("xm256", resized(large, 256).flip(-1))


def test_psp_encoder(photo: Tensor) -> None:
    encoder = PspEncoder(ffhq512_128().psp, num_ws=14, w_dim=512).eval()
    goldens.fill(encoder, prefix="psp_encoder.", network="triplanenet_v1")
    golden = goldens.Golden("psp_encoder")
    units = {f"psp.body{index}": unit for index, unit in enumerate(encoder.body)}
    with recorded({"psp.input_layer": encoder.input_layer, **units}) as outputs:
        outputs["psp.codes"] = encoder(photo)
    for key in golden.entries.keys() & outputs.keys():
        golden.check(key, outputs[key])
    golden.check("psp.codes64", encoder(avg_pool2d(photo, 4)))
    golden.check("psp.codes_batch2", encoder(torch.cat([photo, photo.flip(-1)])))


@pytest.mark.parametrize("size", [64, pytest.param(256, marks=pytest.mark.parity)])
@pytest.mark.parametrize("name", NETWORKS)
def test_refiner(photo: Tensor, name: str, size: int) -> None:
    preset, network = NETWORKS[name]
    refiner = Refiner(preset.refiner).eval()
    goldens.fill(refiner, prefix="triplanenet_encoder.", network=network)
    golden = goldens.Golden("triplane_encoders")
    key = f"tenc.{name}_{size}"
    photo = avg_pool2d(photo, 256 // size) if size < 256 else photo
    view = 0.5 * photo
    if preset.refiner.version == 1:
        golden.check(key, refiner(torch.cat([view, photo - view], dim=1)))
        return
    mirrored = photo.flip(-1)
    pictures = torch.cat([view, photo - view, mirrored - 0.25 * mirrored], dim=1)
    planes = goldens.analytic_maps("tenc.planes", (1, 96), size, amp=1.5, freq=4.0)
    with recorded({f"{key}_{up}": getattr(refiner, up) for up in ("up1", "up2", "up3", "up4")}) as outputs:
        refined = refiner(pictures, planes)
    for step, output in outputs.items():
        golden.check(step, output)
    golden.check(key, refined)
    golden.check(f"{key}_offset", refined - planes)


def test_identity_network(photo: Tensor) -> None:
    network = IdentityNetwork().eval()
    goldens.fill(network, prefix="ir_se50.", network="ir_se50_idloss")
    faces = torch.cat([photo, photo.flip(-1)])[:, :, 35:223, 32:220]
    goldens.Golden("ir_se50_id").check("id.feature", network(adaptive_avg_pool2d(faces, 112)))


def test_curricularface_keys() -> None:
    with torch.device("meta"):
        network = IdentityNetwork(CURRICULARFACE_IR101)
    assert goldens.state_shapes(network) == goldens.expected_shapes("curricularface_ir101_metrics")
