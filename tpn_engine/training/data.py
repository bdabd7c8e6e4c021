"""Rendered heads on disk, and the batches that training sees."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tpn_engine.camera import Camera
from tpn_engine.errors import FileError
from tpn_engine.training.augment import ColorShift, degrade
from tpn_engine.training.config import StageConfig
from tpn_engine.training.person import fair_chances
from tpn_engine.training.supervision import PixelView, color_points, occupancy_points

SOURCE_YAW_LIMIT = 60.0  # degrees; beyond this a photo shows too little of the face to start from


@dataclass(frozen=True)
class HeadViews:
    """One synthetic head: V pictures of S x S pixels with exact cameras and depth.

    `rgb` uint8 [V,S,S,3] (not premultiplied), `alpha` uint8 [V,S,S], `depth` float16 [V,S,S] along
    the camera's z in EG3D units (0: empty), `cameras` one a view.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    cameras: tuple[Camera, ...]

    @classmethod
    def load(cls, path: Path) -> HeadViews:
        """Read one file written by the head sampler."""
        with np.load(path) as file:
            cameras = tuple(Camera.from_label(label) for label in file["label"])
            return cls(file["rgb"], file["alpha"], file["depth"], cameras)

    def mirrored(self) -> HeadViews:
        """The head seen in a mirror: every picture flipped, every camera mirrored."""
        return HeadViews(
            self.rgb[:, :, ::-1],
            self.alpha[:, :, ::-1],
            self.depth[:, :, ::-1],
            tuple(camera.mirrored() for camera in self.cameras),
        )

    def view(self, index: int) -> PixelView:
        """One view with what supervision needs, as floats."""
        return PixelView(
            self.rgb[index],
            self.alpha[index] / np.float32(255),
            self.depth[index].astype(np.float32),
            self.cameras[index],
        )

    def yaws(self) -> np.ndarray:
        """Degrees by which each camera stands to the side, 0 in front, [V]."""
        positions = np.stack([camera.position for camera in self.cameras])
        return np.degrees(np.arctan2(positions[:, 0], positions[:, 2]))

    def source_views(self) -> np.ndarray:
        """Indices of the views that can serve as a portrait."""
        return np.flatnonzero(np.abs(self.yaws()) <= SOURCE_YAW_LIMIT)


@dataclass
class Batch:
    """B heads: the portraits as the networks take them, and points with known truth.

    `photo` [B,4,S,S] in [-1,1], the person on black and the matte, `label` [B,25]; `color_at` [B,N,3] with
    `color` [B,N,3] in [0,1] and `color_weight` [B,N]; `occupancy_at` [B,M,3] with `occupied` and `known` [B,M]
    in {0,1}.
    """

    photo: torch.Tensor
    label: torch.Tensor
    color_at: torch.Tensor
    color: torch.Tensor
    color_weight: torch.Tensor
    occupancy_at: torch.Tensor
    occupied: torch.Tensor
    known: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        return Batch(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})


def head_files(folder: Path, held_out_every: int) -> tuple[list[Path], list[Path]]:
    """Split the heads of a folder by their seed into those to train on and those held out."""
    files = sorted(folder.glob("head_*[0-9].npz"))
    if not files:
        raise FileError(f"No head_*.npz files in {folder}: render some with python -m tpn_engine.training.heads.")
    held_out = [path for path in files if int(path.stem[5:]) % held_out_every == held_out_every - 1]
    return [path for path in files if path not in set(held_out)], held_out


def photo_tensor(rgb: np.ndarray, matte: np.ndarray) -> torch.Tensor:
    """An image [S,S,3] on black and its matte [S,S], both in [0,1], as the networks take them, [4,S,S] in [-1,1]."""
    return torch.from_numpy(np.concatenate([rgb.transpose(2, 0, 1), matte[None]]).astype(np.float32)) * 2 - 1


def make_sample(path: Path, config: StageConfig, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """One head's share of a batch: a random source view, mirrored half of the time."""
    head = HeadViews.load(path)
    if rng.random() < 0.5:
        head = head.mirrored()
    shift = ColorShift.random(rng)
    candidates = head.source_views()
    source = int(rng.choice(candidates)) if len(candidates) else 0
    views = [head.view(index) for index in range(len(head.cameras))]
    photo, matte = degrade(shift(views[source].on_black()), views[source].alpha, rng)
    solid = [view.without_gaps() for view in views]
    color_at, color, weight = color_points(solid, source, config.source_share, config.color_points, rng)
    solid[source] = solid[source].without_rim()
    occupancy_at, occupied, known = occupancy_points(solid, source, config.occupancy_points, rng)
    arrays = {
        "label": head.cameras[source].label,
        "color_at": color_at,
        "color": shift(color),
        "color_weight": weight,
        "occupancy_at": occupancy_at,
        "occupied": occupied,
        "known": known,
    }
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in arrays.items()}
    return {"photo": photo_tensor(photo, matte)} | tensors


def batches(files: list[Path], config: StageConfig, seed: int, first_step: int, workers: int = 1) -> Iterator[Batch]:
    """Endless batches, prepared ahead in `workers` threads; batch k depends on files, seed and k alone.

    Every tone of skin is drawn equally often, however many heads have it.
    """
    chances = fair_chances(files)

    def make(step: int) -> Batch:
        rng = np.random.default_rng([seed, step])
        chosen = rng.choice(len(files), config.batch, replace=len(files) < config.batch, p=chances)
        samples = [make_sample(files[i], config, rng) for i in chosen]
        return Batch(**{name: torch.stack([sample[name] for sample in samples]) for name in samples[0]})

    results: list[queue.Queue[Batch | Exception]] = [queue.Queue(maxsize=3) for _ in range(workers)]

    def fill(worker: int) -> None:
        step = first_step + worker
        while True:
            try:
                results[worker].put(make(step))
            except Exception as error:
                results[worker].put(error)
                return
            step += workers

    for worker in range(workers):
        threading.Thread(target=fill, args=(worker,), daemon=True).start()
    turn = 0
    while True:
        item = results[turn % workers].get()
        if isinstance(item, Exception):
            raise item
        yield item
        turn += 1
