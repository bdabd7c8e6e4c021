"""Files laid out exactly as the authors' and NVIDIA's, with the weights of the reference numbers or tiny ones."""

from __future__ import annotations

import argparse
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import goldens
import numpy as np
import torch
from tiny_model import tiny_preset
from torch import Tensor, nn

from tpn_engine.checkpoints.fit import unfilled_network
from tpn_engine.nets.presets import GeneratorPreset, Preset, SuperResolutionPreset, ffhq512_128
from tpn_engine.nets.triplanenet import TriPlaneNet

# ---- networks ------------------------------------------------------------------------------------


def tiny_official(version: Literal[1, 2], pixel_shuffle: bool) -> Preset:
    """As `ffhq512_128`, in a size that is written in milliseconds."""
    official, tiny = ffhq512_128(version, pixel_shuffle), tiny_preset()
    generator = replace(
        tiny.generator,
        plane_axes="xy_xz_zx",
        super_resolution=SuperResolutionPreset("8xdc", input_resolution=16),
        image_resolution=512,
    )
    refiner = replace(official.refiner, resolution=32, body=tiny.refiner.body)
    return replace(official, generator=generator, psp=tiny.psp, refiner=refiner)


def filled_network(preset: Preset) -> TriPlaneNet:
    """The network with the weights of WEIGHTS_RULE.md, its latent_avg too."""
    network = unfilled_network(preset)
    goldens.fill(network)
    network.latent_avg = goldens.latent_avg(preset.generator.w_dim)
    return network.eval().requires_grad_(False)


def generator_state(network: TriPlaneNet) -> OrderedDict[str, Tensor]:
    """The generator's state dict under its own names."""
    return network.decoder.state_dict()  # type: ignore[return-value]


def init_kwargs(preset: GeneratorPreset) -> dict[str, Any]:
    """What the authors' code builds the generator from."""
    official = goldens.read_json("configs")["ffhq512_128_init_kwargs"]
    rendering = {**official["rendering_kwargs"], "image_resolution": preset.image_resolution}
    if preset.super_resolution is not None:
        module = f"models.eg3d.superresolution.SuperresolutionHybrid{preset.super_resolution.kind.upper()}"
        rendering["superresolution_module"] = module
    return {
        **official,
        "z_dim": preset.z_dim,
        "w_dim": preset.w_dim,
        "channel_base": preset.channel_base,
        "channel_max": preset.channel_max,
        "img_resolution": preset.image_resolution,
        "rendering_kwargs": rendering,
    }


# ---- the authors' files --------------------------------------------------------------------------


def triplanenet_checkpoint(network: TriPlaneNet) -> dict[str, Any]:
    """What the authors' training saves: weights, options, the state of its optimisers."""
    trained = nn.Linear(3, 2)
    optimiser = torch.optim.Adam(trained.parameters())
    trained(torch.ones(3)).sum().backward()
    optimiser.step()
    return {
        "state_dict": network.state_dict(),
        "opts": {"exp_dir": Path("experiment"), "more": argparse.Namespace(n_styles=14), "device": "cuda:0"},
        "best_val_loss": np.float64(0.25),
        "step": 1_500_000,
        "triplane_optimizer": optimiser.state_dict(),
        "psp_optimizer": optimiser.state_dict(),
    }


def generator_checkpoint(network: TriPlaneNet) -> dict[str, Any]:
    return {
        "G_ema": generator_state(network),
        "init_kwargs": init_kwargs(network.preset.generator),
        "latent_avg": network.latent_avg,
    }


def save(content: Any, path: Path, *, stream: bool = False) -> Path:
    """Write as torch does, or did before its files were zip archives."""
    torch.save(content, path, _use_new_zipfile_serialization=not stream)
    return path


def save_authors(network: TriPlaneNet, folder: Path, *, stream: bool = False) -> list[Path]:
    """TriPlaneNet's file and the generator's, under the authors' names."""
    name = "triplanenet_final.pth" if network.preset.refiner.version == 1 else "triplanenet_v2_final.pth"
    return [
        save(triplanenet_checkpoint(network), folder / name, stream=stream),
        save(generator_checkpoint(network), folder / "ffhq512-128.pth", stream=stream),
    ]


# ---- NVIDIA's file -------------------------------------------------------------------------------


class _Persistent(nn.Module):
    """A module that pickles its own source, as torch_utils.persistence makes them."""

    source = ""
    called = "Module"

    def __reduce__(self) -> tuple[Any, ...]:
        reconstruct = sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj
        state = {**self.__dict__}
        del state["called"]
        easy = sys.modules["dnnlib.util"].EasyDict
        made = easy(type="class", version=6, module_src=self.source, class_name=self.called, state=state)
        return reconstruct, (made,), None


def nvidia_generator(preset: GeneratorPreset, state: dict[str, Tensor], source: str, resolution: int) -> nn.Module:
    """An EG3D generator's modules, empty but for their tensors, as they are pickled; call within `nvidia_modules`."""
    root = persistent_module("TriPlaneGenerator", source)
    easy = sys.modules["dnnlib.util"].EasyDict
    root._init_args = ()
    root._init_kwargs = easy(init_kwargs(preset))
    root.neural_rendering_resolution = resolution
    root._last_planes = None
    root.weight_gain = np.float64(0.5)
    root.ray_sampler = _plain("training.volumetric_rendering.ray_sampler.RaySampler")
    renderer = root.renderer = _plain("training.volumetric_rendering.renderer.ImportanceRenderer")
    renderer.ray_marcher = _plain("training.volumetric_rendering.ray_marcher.MipRayMarcher2")
    root.decoder = _plain("training.triplane.OSGDecoder")
    net = [
        persistent_module("FullyConnectedLayer", source),
        nn.Softplus(),
        persistent_module("FullyConnectedLayer", source),
    ]
    root.decoder.net = nn.Sequential(*net)
    for key, value in state.items():
        *modules, name = key.split(".")
        module: nn.Module = root
        for part in modules:
            if part not in module._modules:
                module.add_module(part, persistent_module("Block", source))
            module = module.get_submodule(part)
        if name in ("resample_filter", "noise_const", "w_avg"):
            module.register_buffer(name, value)
        else:
            module.register_parameter(name, nn.Parameter(value, requires_grad=False))
    return root


def save_nvidia(network: TriPlaneNet, path: Path, *, source: str = "", resolution: int | None = None) -> Path:
    """A snapshot as NVIDIA publishes it; `source` is the code that its own loader would run."""
    preset = network.preset.generator
    state = generator_state(network)
    with nvidia_modules():
        made = [
            nvidia_generator(preset, state, source, resolution or preset.render_resolution),
            persistent_module("AugmentPipe", source),
        ]
        snapshot = {"training_set_kwargs": {"path": "x"}, "G": None, "augment_pipe": made[1], "G_ema": made[0]}
        path.write_bytes(pickle.dumps(snapshot, protocol=4))
    return path


@contextmanager
def nvidia_modules() -> Iterator[None]:
    """Stand-ins for the modules that NVIDIA's pickles name, while a pickle is written."""
    easy = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    contents: dict[str, dict[str, Any]] = {
        "dnnlib": {},
        "dnnlib.util": {"EasyDict": easy},
        "torch_utils": {},
        "torch_utils.persistence": {"_reconstruct_persistent_obj": _function("torch_utils.persistence")},
        "training": {},
    }
    for path in _PLAIN:
        module, _, name = path.rpartition(".")
        contents.setdefault(module, {})[name] = _PLAIN[path]
        parent = module.rpartition(".")[0]
        contents.setdefault(parent, {})
    before = {name: sys.modules.get(name) for name in contents}
    for name, attributes in contents.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(attributes)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _function(module: str) -> Callable[..., None]:
    def _reconstruct_persistent_obj(*_: Any) -> None:
        raise AssertionError("a pickle was run")

    _reconstruct_persistent_obj.__module__ = module
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    return _reconstruct_persistent_obj


def _class(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    return type(name, (nn.Module,), {"__module__": module})


_PLAIN = {
    path: _class(path)
    for path in (
        "training.triplane.OSGDecoder",
        "training.volumetric_rendering.ray_marcher.MipRayMarcher2",
        "training.volumetric_rendering.ray_sampler.RaySampler",
        "training.volumetric_rendering.renderer.ImportanceRenderer",
    )
}


def _plain(path: str) -> Any:
    return _PLAIN[path]()


def persistent_module(name: str, source: str) -> Any:
    """A module that carries `source`; pickle it within `nvidia_modules`."""
    module = _Persistent()
    module.called, module.source = name, source
    return module
