"""The loop that every optimisation runs in: schedule, time budget, progress, cancel."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from tpn_engine.errors import ModelError
from tpn_engine.progress import Progress

_WARM_UP, _COOL_DOWN = 0.05, 0.25  # shares of the steps in which the learning rate rises and falls (EG3D)


@dataclass(frozen=True)
class FitState:
    """Where an optimisation is: after `step` of `steps`, with its loss.

    `preview` renders a small picture of the head as it is now; it is only worth its time when it is shown.
    """

    stage: str
    step: int
    steps: int
    loss: float
    preview: Callable[[], Image.Image] | None = None


@dataclass(frozen=True)
class FitReport:
    """How an optimisation went; plain JSON as a dict. `cut_short`: time was over before the steps were."""

    steps: int
    first_loss: float
    last_loss: float
    cut_short: bool


Watch = Callable[[FitState], None]


@dataclass(frozen=True)
class Observer:
    """Who is told about an inversion: `progress` of stages and to cancel, `watch` after every step of a fit."""

    progress: Progress
    watch: Watch | None = None


class Clock:
    """A time budget that starts now."""

    def __init__(self, seconds: float) -> None:
        self._seconds = max(seconds, 1e-3)
        self._end = time.perf_counter() + self._seconds

    @property
    def left(self) -> float:
        """Seconds; negative once they are over."""
        return self._end - time.perf_counter()

    @property
    def spent(self) -> float:
        """The share of the budget that is gone, in [0, 1]."""
        return min(1.0, 1 - self.left / self._seconds)

    def share(self, fraction: float) -> Clock:
        """A budget of a fraction of what is left."""
        return Clock(self.left * fraction)


def fit(
    parameters: Sequence[tuple[Sequence[Tensor], float]],
    loss_at: Callable[[float], Tensor],
    steps: int,
    clock: Clock,
    observer: Observer,
    stage: str,
    preview: Callable[[], Image.Image] | None = None,
) -> FitReport:
    """Minimise `loss_at(progress in [0, 1))` by Adam over tensors, each group with its learning rate.

    A step is only begun if one as long as the last still fits the budget, the first always. The learning
    rate falls in the last quarter of the steps, or of the budget if that comes first. Raises CancelledError
    between steps, and ModelError if the loss stops being a number.
    """
    optimizer = torch.optim.Adam(
        [{"params": list(tensors), "peak": rate} for tensors, rate in parameters], lr=0.0, betas=(0.9, 0.99)
    )
    losses: list[float] = []
    longest = 0.0
    for step in range(steps):
        observer.progress(stage, step / steps)
        if losses and clock.left < longest:
            break
        before = clock.left
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * min(ramp((step + 0.5) / steps), fall(clock.spent))
        optimizer.zero_grad(set_to_none=True)
        loss = loss_at(step / steps)
        loss.backward()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise ModelError(f"The {stage} went astray: use a smaller learning rate.")
        optimizer.step()
        longest = max(0.9 * longest, before - clock.left)
        if observer.watch is not None:
            observer.watch(FitState(stage, step + 1, steps, losses[-1], preview))
    observer.progress(stage, 1.0)
    return FitReport(len(losses), losses[0], losses[-1], len(losses) < steps)


def ramp(progress: float) -> float:
    """The learning rate's factor over an optimisation: a short rise, a plateau, half a cosine down."""
    return fall(progress) * min(1.0, progress / _WARM_UP)


def fall(progress: float) -> float:
    """The end of the ramp alone: 1, then half a cosine down."""
    return 0.5 - 0.5 * math.cos(min(1.0, (1 - progress) / _COOL_DOWN) * math.pi)
