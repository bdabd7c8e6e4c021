"""Models from and to their files: .safetensors with a description beside it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tpn_engine.checkpoints.catalog import find_weights
from tpn_engine.checkpoints.description import Description, description_path, read_description, to_json
from tpn_engine.checkpoints.fit import LATENT_AVERAGE, expected_tensors, misfit, unfilled_network
from tpn_engine.errors import ModelError
from tpn_engine.files import checked_output, replacing
from tpn_engine.nets.presets import Preset
from tpn_engine.nets.triplanenet import TriPlaneNet


@dataclass(frozen=True)
class Model:
    """A named set of weights, ready to run: the network is in evaluation mode and frozen."""

    name: str
    preset: Preset
    network: TriPlaneNet
    sha256: str
    licence: str
    origin: str


def load_model(model: str | os.PathLike[str], device: torch.device | str = "cpu") -> Model:
    """A model by its name in the catalog or the path of its .safetensors, in float32 on `device`.

    The file's SHA-256, every key and every shape are checked first. Raises ModelError.
    """
    path = find_weights(model if isinstance(model, str) else Path(model))
    description = read_description(description_path(path))
    if file_sha256(path) != description.sha256:
        raise ModelError(f"{path} is damaged or was changed: its SHA-256 differs. Get the model again.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} can't be read: get the model again.") from error
    tensors = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    network = unfilled_network(description.preset)
    if (wrong := misfit(expected_tensors(network), tensors)) is not None:
        raise ModelError(f"{path} {wrong}.")
    network.latent_avg = tensors.pop(LATENT_AVERAGE)
    network.load_state_dict(tensors, assign=True)
    network.requires_grad_(False).eval().to(device)
    return Model(
        name=description.name,
        preset=description.preset,
        network=network,
        sha256=description.sha256,
        licence=description.licence,
        origin=description.origin,
    )


def save_model(
    network: TriPlaneNet, name: str, path: str | os.PathLike[str], *, licence: str, origin: str
) -> Description:
    """Write a network as a float16 .safetensors file, with `latent_avg` inside and the description beside it.

    Raises OptionError for another suffix and FileError.
    """
    path = checked_output(path, (".safetensors",))
    tensors = {key: _half(value) for key, value in network.state_dict().items()}
    tensors[LATENT_AVERAGE] = _half(network.latent_avg)
    with replacing(path) as unfinished:
        unfinished.write_bytes(save(tensors))  # save_file would make it readable by its owner only
        description = Description(name, network.preset, file_sha256(unfinished), licence, origin)
    with replacing(description_path(path)) as unfinished:
        unfinished.write_text(to_json(description), encoding="utf-8")
    return description


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _half(tensor: Tensor) -> Tensor:
    """Float16 where the values fit, on the CPU and on its own memory."""
    tensor = tensor.detach().cpu()
    if tensor.is_floating_point() and (half := tensor.half()).isfinite().all():
        tensor = half
    return tensor.clone().contiguous()
