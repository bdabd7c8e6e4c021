"""Rendered heads on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tpn_engine.camera import Camera
from tpn_engine.errors import FileError
from tpn_engine.training.pictures import PixelView

TURNED = (8.0, 40.0)  # degrees to the side from which portraits are taken as well as from the front


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

    def as_photographed(self) -> set[int]:
        """The view nearest to the front and, where there is one, the nearest of those that are TURNED."""
        aside = np.abs(self.yaws())
        turned = np.flatnonzero((aside > TURNED[0]) & (aside < TURNED[1]))
        return {int(aside.argmin()), *turned[np.argsort(aside[turned])][:1].tolist()}


def head_files(folder: Path, held_out_every: int) -> tuple[list[Path], list[Path]]:
    """Split the heads of a folder by their seed into those to train on and those held out."""
    files = sorted(folder.glob("head_*[0-9].npz"))
    if not files:
        raise FileError(f"No head_*.npz files in {folder}: render some with python -m tpn_engine.training.heads.")
    seeds = {path: int(path.stem[5:]) for path in files}
    held_out = [path for path in files if seeds[path] % held_out_every == held_out_every - 1]
    return [path for path in files if seeds[path] % held_out_every != held_out_every - 1], held_out
