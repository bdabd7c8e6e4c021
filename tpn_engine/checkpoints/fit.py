"""Whether weights fit their preset: every key, shape and kind of number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tpn_engine.nets.presets import Preset
from tpn_engine.nets.triplanenet import TriPlaneNet

LATENT_AVERAGE = "latent_avg"  # stored with the weights although it is no part of the network's state


class Described(Protocol):
    """What is known of a tensor without its numbers."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype: ...


def unfilled_network(preset: Preset) -> TriPlaneNet:
    """A network whose weights are whatever was in memory, for those who replace them at once."""
    with _Unfilled():
        return TriPlaneNet(preset)


def expected_tensors(network: TriPlaneNet) -> dict[str, Tensor]:
    """Every tensor that belongs into a model's file."""
    return network.state_dict() | {LATENT_AVERAGE: network.latent_avg}


def misfit(expected: Mapping[str, Tensor], found: Mapping[str, Described]) -> str | None:
    """What is wrong with the first tensor that does not fit, to follow the file's name; None if all fit."""
    for key, tensor in expected.items():
        if key not in found:
            return f"does not fit its preset: {key} is missing"
        shape, dtype = tuple(found[key].shape), found[key].dtype
        if shape != tuple(tensor.shape):
            return f"does not fit its preset: {key} is {shape} instead of {tuple(tensor.shape)}"
        if dtype.is_floating_point != tensor.is_floating_point() or dtype.is_complex or dtype == torch.bool:
            kinds = f"{str(dtype).removeprefix('torch.')} instead of {str(tensor.dtype).removeprefix('torch.')}"
            return f"does not fit its preset: {key} holds {kinds}"
    for key in found:
        if key not in expected:
            return f"does not fit its preset: {key[:100]} is not part of it"
    return None


class _Unfilled(TorchFunctionMode):
    """Modules built inside get no random weights: they take seconds to draw.

    (The meta device would do the same, but its first use imports for longer than this saves.)
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if func.__name__ in ("normal_", "uniform_", "kaiming_uniform_"):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
