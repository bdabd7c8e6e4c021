"""A step of training can be recorded on a GPU: it asks nothing of the CPU that only a finished kernel could tell.

Tensors without data stand for a GPU's: reading one fails as recording would, and what the CPU hands over is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from test_training_data import stage_config
from tiny_model import tiny_preset
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.training.batches import Batch
from tpn_engine.training.config import StageName
from tpn_engine.training.stages import stage_loss, trained_modules


class NothingFromTheCpu(TorchDispatchMode):
    """Fails at an array that is neither known from the start nor an operation's result: lists become such arrays."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()
        self._known = {id(tensor): tensor for tensor in known}

    def __torch_dispatch__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor) and leaf.dim() > 0:
                assert id(leaf) in self._known, f"{func} takes an array that the CPU made"
        result = func(*args, **(kwargs or {}))
        self._known |= {id(leaf): leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)}
        return result


def batch(heads: int) -> Batch:
    def some(*shape: int) -> Tensor:
        return torch.empty(heads, *shape, device="meta")

    return Batch(some(4, 64, 64), some(25), some(30, 3), some(30, 3), some(30), some(50, 3), some(50), some(50))


@pytest.mark.parametrize("stage", ["pivot", "refinement", "detail"])
def test_a_step_waits_for_nothing(stage: StageName, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no such device
    preset, config, seen = tiny_preset(), stage_config(), batch(4)
    network = TriPlaneNet(preset).requires_grad_(False).to("meta")
    parameters = []
    for module, _ in trained_modules(network, stage, config):
        parameters += module.requires_grad_(True).train().parameters()
    with NothingFromTheCpu([*network.parameters(), *network.buffers(), *vars(seen).values()]):
        loss = stage_loss(network, stage, preset.iso_level, config)(seen)
    loss.total.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    assert any(parameter.grad is not None for parameter in parameters)


@pytest.mark.parametrize("waits", [lambda x: x[..., [0, 1]], lambda x: x.sum().item(), lambda x: x * x.new_tensor([1])])
def test_waiting_is_noticed(waits: Callable[[Tensor], object]) -> None:
    x = torch.empty(5, 3, device="meta")
    with pytest.raises((AssertionError, RuntimeError)), NothingFromTheCpu([x]):
        waits(x)
