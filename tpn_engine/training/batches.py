"""What a step of training sees: portraits, and points whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor

from tpn_engine.training.augment import ColorShift, degrade, misplaced
from tpn_engine.training.config import StageConfig
from tpn_engine.training.store import HeadStore
from tpn_engine.training.supervision import color_points, occupancy_points
from tpn_engine.training.views import Views

SOURCE_YAW_LIMIT = 60.0  # degrees; beyond this a photo shows too little of the face to start from
LOOK_AGAIN_EVERY = 20  # steps, for heads that have come since


@dataclass
class Batch:
    """B heads: the portraits as the networks take them, and points with known truth.

    `photo` [B,4,S,S] in [-1,1], the person on black and the matte, `label` [B,25]; `color_at` [B,N,3] with
    `color` [B,N,3] in [0,1] and `color_weight` [B,N]; `occupancy_at` [B,M,3] with `occupied` and `known` [B,M]
    in {0,1}.
    """

    photo: Tensor
    label: Tensor
    color_at: Tensor
    color: Tensor
    color_weight: Tensor
    occupancy_at: Tensor
    occupied: Tensor
    known: Tensor


def source_views(views: Views, random: torch.Generator) -> Tensor:
    """For each head the index [B] of a random view that can serve as a portrait; the first where none can."""
    position = views.poses[..., :3, 3]
    yaw = torch.atan2(position[..., 0], position[..., 2]).rad2deg()
    chances = (yaw.abs() <= SOURCE_YAW_LIMIT).float()
    chances[:, 0] += 1e-6
    return torch.multinomial(chances, 1, generator=random)[:, 0]


@torch.no_grad()
def make_batch(store: HeadStore, config: StageConfig, seed: int, step: int) -> Batch:
    """Batch `step`, which depends on the store's heads, the seed and the step alone; half of it mirrored."""
    rng = np.random.default_rng([seed, step])
    views = store.views(store.draw(config.batch, rng))
    random = torch.Generator(store.device).manual_seed(int(rng.integers(2**62)))
    views = misplaced(views.half_mirrored(), random)
    source = source_views(views, random)
    shift = ColorShift.random(len(source), random)
    seen = views.one(source)
    photo, matte = degrade(shift(seen.on_black()[:, 0]).permute(0, 3, 1, 2), seen.alpha, random)
    solid = views.without_gaps()
    color_at, color, weight = color_points(solid, source, config.source_share, config.color_points, random)
    at, occupied, known = occupancy_points(solid.without_rim(source), source, config.occupancy_points, random)
    return Batch(
        photo=torch.cat([photo, matte], dim=1) * 2 - 1,
        label=seen.label[:, 0],
        color_at=color_at,
        color=shift(color),
        color_weight=weight,
        occupancy_at=at,
        occupied=occupied.float(),
        known=known.float(),
    )


def batches(store: HeadStore, config: StageConfig, seed: int, first_step: int) -> Iterator[Batch]:
    """Endless batches from `first_step` on. Heads that come into the folder meanwhile join in."""
    for step in count(first_step):
        if step % LOOK_AGAIN_EVERY == 0:
            store.look_again()
        yield make_batch(store, config, seed, step)
