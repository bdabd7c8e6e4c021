"""What a training run is made of, read from a JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from tpn_engine.errors import OptionError

StageName = Literal["pivot", "refinement", "detail"]


@dataclass(frozen=True)
class StageConfig:
    """One phase of training.

    `batch` heads a step; per head `color_points` with known colours and `occupancy_points` with known sides of the
    surface; after the pivot's phase also `color_points` of the head's own front, where the photo shows it. The
    generator's learning rate is, in the refinement's phase, the pivot encoder's too, which goes on learning then. The
    rates rise linearly over `warmup` steps and fall to zero with a cosine at `steps`. `density_per_logit` is how many
    units of density one unit of occupancy logit is worth.
    Before the phase the planes are scaled by `plane_gain` and the decoder's first layer by its inverse:
    the field stays, and offsets of ordinary size count.
    `minutes`, if given, end the phase before its steps do, and the rates fall to zero by then.
    `ema` is the decay of the averaged weights that are shipped. With `mixed_precision` the
    networks run in bfloat16 where torch's autocast allows it; field and losses stay float32.
    """

    steps: int
    batch: int
    learning_rate: float
    generator_learning_rate: float
    warmup: int
    color_points: int
    occupancy_points: int
    source_share: float
    color_weight: float
    occupancy_weight: float
    density_per_logit: float
    plane_gain: float
    ema: float
    mixed_precision: bool
    minutes: float | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """A preset's name, the seed, and the phases in order. Every `held_out_every`-th head is never trained on.

    A density that is easy to learn renders as fog: when all is trained, its distance from the iso-level is
    multiplied by `density_stretch`. Before that `density_shift` is added to it: where hair is thin, as likely as not
    is too little, and a surface a little too near costs less than a hole.
    """

    preset: str
    seed: int
    held_out_every: int
    density_shift: float
    density_stretch: float
    stages: dict[StageName, StageConfig]

    @classmethod
    def load(cls, path: Path) -> TrainingConfig:
        """Read a configuration; raises OptionError naming what is wrong."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            stages = {name: StageConfig(**raw["stages"][name]) for name in get_args(StageName)}
            return cls(**(raw | {"stages": stages}))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OptionError(f"{path} is not a training configuration: {error}") from error
