"""The loop: seeded, resumable, logged, with averaged weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tpn_engine.files import replacing
from tpn_engine.nets.presets import Preset
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.training.batches import Batch, batches
from tpn_engine.training.config import StageConfig, StageName, TrainingConfig
from tpn_engine.training.replay import Replayed
from tpn_engine.training.stages import stage_loss, trained_modules
from tpn_engine.training.store import HeadStore

LOG_EVERY = 20
SAVE_EVERY = 200
GRADIENT_LIMIT = 1.0


def learning_rate_factor(step: int, progress: float, config: StageConfig) -> float:
    """Linear rise over the warm-up steps, then half a cosine down to zero where progress is one."""
    rise = min(1.0, (step + 1) / config.warmup)
    return rise * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


class Stage:
    """One phase under way: network, optimiser, averaged weights and the step they are at."""

    def __init__(self, network: TriPlaneNet, name: StageName, preset: Preset, config: StageConfig) -> None:
        self.network, self.name, self.config = network, name, config
        network.requires_grad_(False).eval()
        device = next(network.parameters()).device
        on_gpu = device.type == "cuda"
        self.rates: list[float] = []
        self.modules: list[nn.Module] = []
        groups = []
        for module, rate in trained_modules(network, name, config):
            module.requires_grad_(True).train()
            self.modules.append(module)
            groups.append({"params": list(module.parameters()), "lr": torch.tensor(rate, device=device)})
            self.rates.append(rate)
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), fused=on_gpu, capturable=on_gpu)
        self.loss = stage_loss(network, name, preset.iso_level, config)
        self.average = [
            {key: value.detach().clone() for key, value in module.state_dict().items()} for module in self.modules
        ]
        self.step, self.seconds = 0, 0.0
        self._optimise = Replayed(self._one_step) if on_gpu else self._one_step

    @property
    def progress(self) -> float:
        """How much of the phase is behind, in steps or in time; one or more when it is over."""
        in_steps = self.step / self.config.steps if self.config.steps else 1.0
        return max(in_steps, self.seconds / (self.config.minutes * 60)) if self.config.minutes else in_steps

    def advance(self, batch: Batch) -> dict[str, torch.Tensor]:
        """One optimiser step on a batch of the same device; returns the numbers for the log."""
        factor = learning_rate_factor(self.step, self.progress, self.config)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"].fill_(rate * factor)
        parts = self._optimise(batch)
        self.step += 1
        self._update_average()
        return parts

    def _one_step(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.total.backward()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, GRADIENT_LIMIT)
        self.optimizer.step()
        return loss.parts()

    @torch.no_grad()
    def _update_average(self) -> None:
        update = get_ema_multi_avg_fn(min(self.config.ema, self.step / (self.step + 10)))
        for module, average in zip(self.modules, self.average, strict=True):
            state = module.state_dict()
            moving = [key for key, value in state.items() if value.is_floating_point()]
            update([average[key] for key in moving], [state[key] for key in moving], self.step)
            for key in state.keys() - moving:
                average[key].copy_(state[key])

    def state(self) -> dict[str, object]:
        """Everything needed to go on from here."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "modules": [module.state_dict() for module in self.modules],
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict) -> None:
        """Go on from a saved state."""
        self.step, self.seconds = state["step"], state["seconds"]
        for module, saved in zip(self.modules, state["modules"], strict=True):
            module.load_state_dict(saved)
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])

    def use_average(self) -> None:
        """Put the averaged weights into the network."""
        for module, average in zip(self.modules, self.average, strict=True):
            module.load_state_dict(average)


def train_stage(
    network: TriPlaneNet,
    name: StageName,
    preset: Preset,
    config: TrainingConfig,
    store: HeadStore,
    run: Path,
    minutes: float | None,
) -> Iterator[dict[str, float | int | str]]:
    """Train one phase, or go on with it, until its steps or the minutes are used up; yields log entries.

    Afterwards the network, which is on the store's device, holds the averaged weights. Checkpoints and `log.jsonl`
    lie in `run`.
    """
    stage = Stage(network, name, preset, config.stages[name])
    checkpoint = run / f"{name}.pt"
    if checkpoint.exists():
        stage.restore(torch.load(checkpoint, map_location=store.device, weights_only=True))
    started, first = time.monotonic(), stage.step
    before, out_of_time = stage.seconds, False
    sums: dict[str, torch.Tensor] = {}
    source = batches(store, stage.config, config.seed, stage.step)
    with (run / "log.jsonl").open("a", encoding="utf-8") as log:
        while stage.progress < 1 and not out_of_time:
            for key, value in stage.advance(next(source)).items():
                sums[key] = sums[key] + value if key in sums else value
            elapsed = time.monotonic() - started
            stage.seconds = before + elapsed
            out_of_time = minutes is not None and elapsed > minutes * 60
            if stage.step % LOG_EVERY == 0:
                entry = {"stage": name, "step": stage.step, "heads": len(store.files)}
                entry |= {key: round(float(value) / LOG_EVERY, 5) for key, value in sums.items()}
                entry["seconds_per_step"] = round(elapsed / (stage.step - first), 3)
                sums = {}
                log.write(json.dumps(entry) + "\n")
                log.flush()
                yield entry
            if stage.step % SAVE_EVERY == 0 or out_of_time or stage.progress >= 1:
                with replacing(checkpoint) as unfinished:
                    torch.save(stage.state(), unfinished)
    stage.use_average()
    network.requires_grad_(False).eval()
