"""The loop: seeded, resumable, logged, with averaged weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from tpn_engine.files import replacing
from tpn_engine.nets.presets import Preset
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.training.config import StageConfig, StageName, TrainingConfig
from tpn_engine.training.data import batches, head_files
from tpn_engine.training.stages import stage_loss, trained_modules

LOG_EVERY = 20
SAVE_EVERY = 200
GRADIENT_LIMIT = 1.0


def learning_rate_factor(step: int, config: StageConfig) -> float:
    """Linear rise over the warm-up, then half a cosine down to zero at the last step."""
    rise = min(1.0, (step + 1) / config.warmup)
    return rise * 0.5 * (1 + math.cos(math.pi * min(step / config.steps, 1.0)))


class Stage:
    """One phase under way: network, optimiser, averaged weights and the step they are at."""

    def __init__(
        self, network: TriPlaneNet, name: StageName, preset: Preset, config: StageConfig, device: torch.device
    ) -> None:
        self.network, self.name, self.config, self.device = network, name, config, device
        network.requires_grad_(False).eval()
        groups = []
        self.modules: list[nn.Module] = []
        for module, rate in trained_modules(network, name, config):
            module.requires_grad_(True).train()
            self.modules.append(module)
            groups.append({"params": list(module.parameters()), "lr": rate})
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99))
        self.rates = [group["lr"] for group in groups]
        self.loss = stage_loss(network, name, preset.iso_level, config)
        self.average = [
            {key: value.detach().clone() for key, value in module.state_dict().items()} for module in self.modules
        ]
        self.step = 0

    def advance(self, batch) -> dict[str, float]:
        """One optimiser step; returns the numbers for the log."""
        factor = learning_rate_factor(self.step, self.config)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        loss = self.loss(batch.to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.total.backward()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(parameters, GRADIENT_LIMIT)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return loss.parts()

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema, self.step / (self.step + 10))
        for module, average in zip(self.modules, self.average, strict=True):
            for key, value in module.state_dict().items():
                if value.is_floating_point():
                    average[key].lerp_(value, 1 - decay)
                else:
                    average[key].copy_(value)

    def state(self) -> dict[str, object]:
        """Everything needed to go on from here."""
        return {
            "step": self.step,
            "modules": [module.state_dict() for module in self.modules],
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict) -> None:
        """Go on from a saved state."""
        self.step = state["step"]
        for module, saved in zip(self.modules, state["modules"], strict=True):
            module.load_state_dict(saved)
        self.average = [{key: value.to(self.device) for key, value in part.items()} for part in state["average"]]
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
    data: Path,
    run: Path,
    device: torch.device,
    minutes: float | None,
) -> Iterator[dict[str, float | int | str]]:
    """Train one phase, or go on with it, until its steps or the minutes are used up; yields log entries.

    Afterwards the network holds the averaged weights. Checkpoints and `log.jsonl` lie in `run`.
    """
    stage = Stage(network, name, preset, config.stages[name], device)
    checkpoint = run / f"{name}.pt"
    if checkpoint.exists():
        stage.restore(torch.load(checkpoint, map_location=device, weights_only=True))
    files, _ = head_files(data, config.held_out_every)
    started, first = time.monotonic(), stage.step
    steps = stage.config.steps
    out_of_time = False
    source = batches(files, stage.config, config.seed, stage.step)
    sums: dict[str, float] = {}
    with (run / "log.jsonl").open("a", encoding="utf-8") as log:
        while stage.step < steps and not out_of_time:
            for key, value in stage.advance(next(source)).items():
                sums[key] = sums.get(key, 0.0) + value
            elapsed = time.monotonic() - started
            out_of_time = minutes is not None and elapsed > minutes * 60
            if stage.step % LOG_EVERY == 0:
                entry = {"stage": name, "step": stage.step, "heads": len(files)}
                entry |= {key: round(value / LOG_EVERY, 5) for key, value in sums.items()}
                entry["seconds_per_step"] = round(elapsed / (stage.step - first), 3)
                sums = {}
                log.write(json.dumps(entry) + "\n")
                log.flush()
                yield entry
            if stage.step % SAVE_EVERY == 0 or out_of_time or stage.step == steps:
                with replacing(checkpoint) as unfinished:
                    torch.save(stage.state(), unfinished)
    stage.use_average()
    network.requires_grad_(False).eval()
