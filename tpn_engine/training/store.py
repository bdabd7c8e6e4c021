"""The heads that training draws from: a folder that may still be growing, kept where they are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tpn_engine.training.data import head_files
from tpn_engine.training.person import Person, fair_chances
from tpn_engine.training.views import Views


class HeadStore:
    """Heads of a folder, but for the held-out ones, as tensors on a device.

    A GPU keeps what it has seen (six bytes a pixel: 3 MB for eight pictures of 256 x 256), so that a batch costs no
    reading; a CPU reads anew, as its memory is the disk's cache anyway.
    """

    def __init__(self, folder: Path, held_out_every: int, device: torch.device) -> None:
        self.device = device
        self._folder, self._every = folder, held_out_every
        self._kept: dict[Path, list[Tensor]] = {}
        self._people: dict[Path, Person | None] = {}
        self.look_again()

    def look_again(self) -> None:
        """Take in the heads that have come since; raises FileError while there is none."""
        self.files = head_files(self._folder, self._every)[0]
        for path in self.files:
            if path not in self._people:
                self._people[path] = Person.load(path)
        self._chances = fair_chances([self._people[path] for path in self.files])

    def draw(self, count: int, rng: np.random.Generator) -> list[Path]:
        """`count` different heads; every tone of skin is drawn equally often, however many heads have it."""
        few = len(self.files) < count
        return [self.files[i] for i in rng.choice(len(self.files), count, replace=few, p=self._chances)]

    def views(self, paths: list[Path]) -> Views:
        """All pictures of these heads; of some that have more than others the first ones."""
        heads = [self._load(path) for path in paths]
        number = min(len(arrays[0]) for arrays in heads)
        rgb, alpha, depth, label = (
            torch.stack([part[:number] for part in parts]) for parts in zip(*heads, strict=True)
        )
        return Views(rgb, alpha / 255, depth.float(), label)

    def _load(self, path: Path) -> list[Tensor]:
        """Pictures, mattes, depths and labels of one head."""
        if path in self._kept:
            return self._kept[path]
        with np.load(path) as file:
            arrays = [torch.from_numpy(file[name]) for name in ("rgb", "alpha", "depth", "label")]
        if self.device.type == "cpu":
            return arrays
        if self.device.type == "cuda":  # pinned memory is copied while the device computes
            arrays = [array.pin_memory() for array in arrays]
        self._kept[path] = [array.to(self.device, non_blocking=True) for array in arrays]
        return self._kept[path]
