"""The files of LPIPS and ArcFace: recognised, checked, converted, and loaded as networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from tpn_engine.checkpoints.disk import check_room
from tpn_engine.checkpoints.fit import misfit
from tpn_engine.checkpoints.loss_weights import (
    ALEXNET,
    IDENTITY,
    IDENTITY_WEIGHTS,
    LPIPS_LINEAR,
    LPIPS_WEIGHTS,
    LossPart,
    LossWeights,
)
from tpn_engine.checkpoints.official import state_tensors
from tpn_engine.checkpoints.pickles import RefusedError
from tpn_engine.checkpoints.torch_files import StoredTensor
from tpn_engine.errors import ModelError
from tpn_engine.files import replacing
from tpn_engine.nets.irse import IdentityNetwork
from tpn_engine.nets.lpips import CHANNELS, Lpips

_MARKS = {  # the key by which each file is known
    "features.0.weight": ALEXNET,
    "lin0.model.1.weight": LPIPS_LINEAR,
    "output_layer.3.weight": IDENTITY,
}
_CLASSIFIER = "classifier."  # what AlexNet makes of its features: nine tenths of the file
_COUNTER = "num_batches_tracked"  # says nothing about a network that is trained; older files don't have it
_ORIGIN = "origin"
_ROOM = 2**20  # for the header

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Loaded:
    """A part's tensors under the names of our networks, in memory, and where they come from."""

    part: LossPart
    tensors: dict[str, Tensor]
    origin: str

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def loss_part_in(value: Any) -> LossPart | None:
    """Which loss's file this is, by the value in it; None if it is something else."""
    return next((part for mark, part in _MARKS.items() if isinstance(value, dict) and mark in value), None)


def checked(part: LossPart, value: dict[Any, Any]) -> dict[str, StoredTensor]:
    """The tensors of a part under our names, still in their file; raises RefusedError where one doesn't fit."""
    expected = _published(part)
    found = {key: tensor for key, tensor in state_tensors(value).items() if not _unused(key)}
    if (wrong := misfit({key: tensor for key, (_, tensor) in expected.items()}, found)) is not None:
        raise RefusedError(f"is not {part.file}: it {wrong}")
    return {expected[key][0]: tensor for key, tensor in found.items()}


def loaded(part: LossPart, tensors: Mapping[str, StoredTensor], origin: str) -> Loaded:
    """The numbers of what was checked, as float32; raises RefusedError for numbers that are none."""
    numbers = {key: tensor.load().float() for key, tensor in tensors.items()}
    for key, tensor in numbers.items():
        if not tensor.isfinite().all():
            raise RefusedError(f"is damaged: {key} holds values that are no numbers")
    return Loaded(part, numbers, origin)


def store(parts: Sequence[Loaded]) -> None:
    """Write the parts to their places: all, or none. Raises FileError."""
    with ExitStack() as stack:
        for loaded_part in parts:
            path = loaded_part.part.path
            path.parent.mkdir(parents=True, exist_ok=True)
            check_room(path.parent, loaded_part.size + _ROOM)
            unfinished = stack.enter_context(replacing(path))
            unfinished.write_bytes(save(loaded_part.tensors, {_ORIGIN: loaded_part.origin}))


def load_lpips(device: torch.device) -> Lpips | None:
    """LPIPS, frozen, if its weights are present; raises ModelError where they are damaged."""
    return _network(Lpips(), LPIPS_WEIGHTS, device) if LPIPS_WEIGHTS.present else None


def load_identity(device: torch.device) -> IdentityNetwork | None:
    """ArcFace's network, frozen, if its weights are present; raises ModelError where they are damaged."""
    if not IDENTITY_WEIGHTS.present:
        return None
    with torch.device("meta"):  # random weights for it would take longer than reading these
        network = IdentityNetwork()
    return _network(network, IDENTITY_WEIGHTS, device)


def verified(weights: LossWeights) -> str:
    """What installed weights were converted from, after their keys, shapes and numbers; raises ModelError."""
    network = (load_lpips if weights is LPIPS_WEIGHTS else load_identity)(torch.device("cpu"))
    if network is None:
        raise ModelError(f"{weights.name} is {weights.state}.")
    for key, tensor in network.state_dict().items():
        if not tensor.isfinite().all():
            raise ModelError(f"{weights.name} is damaged: {key} holds values that are no numbers: {_again(weights)}.")
    return origins(weights)


def origins(weights: LossWeights) -> str:
    """What the installed parts were converted from."""
    told = []
    for part in weights.parts:
        with safe_open(part.path, "pt") as stored:
            told.append((stored.metadata() or {}).get(_ORIGIN, "unknown"))
    return " and ".join(told)


def _network(network: Network, weights: LossWeights, device: torch.device) -> Network:
    expected = network.state_dict()
    tensors = {key: torch.zeros((), dtype=torch.int64) for key in expected if key.endswith(_COUNTER)}
    for part in weights.parts:
        try:
            with safe_open(part.path, "pt") as stored:
                tensors |= {key: stored.get_tensor(key) for key in sorted(stored.keys())}
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{part.path} can't be read: {_again(weights)}.") from error
    if (wrong := misfit(expected, tensors)) is not None:
        raise ModelError(f"{weights.name} in {weights.parts[0].path.parent} {wrong}: {_again(weights)}.")
    network.load_state_dict(tensors, assign=True)
    return network.requires_grad_(False).eval().to(device)


def _again(weights: LossWeights) -> str:
    return f"remove it with `tpn models remove {weights.name}`, then add its files again"


def _unused(key: str) -> bool:
    return key.startswith(_CLASSIFIER) or key.endswith(_COUNTER)


@cache
def _published(part: LossPart) -> dict[str, tuple[str, Tensor]]:
    """For each key of the published file, ours and a tensor without numbers but of its shape."""
    with torch.device("meta"):
        state = (IdentityNetwork() if part is IDENTITY else Lpips()).state_dict()
    if part is LPIPS_LINEAR:
        keys = {f"lin{index}.model.1.weight": f"channel_weights.{index}" for index in range(len(CHANNELS))}
    else:
        chosen = "features." if part is ALEXNET else ""
        keys = {key: key for key in state if key.startswith(chosen) and not _unused(key)}
    return {published: (ours, state[ours]) for published, ours in keys.items()}
