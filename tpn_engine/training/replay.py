"""A step of training recorded on a GPU once, then replayed: its many kernels take longer to launch than to run."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tpn_engine.training.batches import Batch

Step = Callable[[Batch], dict[str, Tensor]]

_WARM_UP = 3  # steps before the recording, in which libraries choose their kernels and optimisers make their state


class Replayed:
    """`step` as a CUDA graph. What it does must not depend on values that the CPU would have to read.

    Batches must all have the shapes of the first one. Learning rates must be tensors, changed in place.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch
        self._result: dict[str, Tensor]

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        self._calls += 1
        if self._calls <= _WARM_UP:
            return self._aside(batch)
        if self._graph is None:
            self._batch = batch
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._result = self._step(self._batch)
        else:
            for name, value in vars(self._batch).items():
                value.copy_(getattr(batch, name))
        self._graph.replay()
        return {name: value.clone() for name, value in self._result.items()}

    def _aside(self, batch: Batch) -> dict[str, Tensor]:
        """On a stream of its own, as recording wants it to be practised."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = self._step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return result
