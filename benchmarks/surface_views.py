"""How much faster a head that is a surface is seen where rays meet it than by summing samples along them.

A view of 256 x 256 pixels of the embedded model's head, by volume rendering with the preset's samples, and by ray
casting: the first, which makes the lattice, and every other one, as a turntable takes a hundred. In one run, on one
machine; also by how much the two pictures' depths differ.

    python benchmarks/surface_views.py [--threads 2]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import skimage.data
import torch
from PIL import Image

from tpn_engine import Engine
from tpn_engine.nets.field import TriplaneField
from tpn_engine.views import render_view
from tpn_engine.views.cameras import around

_SIZE = 256
_YAWS = (0.0, 40.0, 80.0, 120.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    capture = Engine.load(device="cpu").capture(Image.fromarray(skimage.data.astronaut()))
    surface = capture.field

    def seconds(field: TriplaneField) -> tuple[list[float], list[np.ndarray]]:
        spent, depths = [], []
        for yaw in _YAWS:
            started = time.perf_counter()
            depths.append(render_view(field, around(yaw), _SIZE, rendering=capture.rendering).depth)
            spent.append(time.perf_counter() - started)
        return spent, depths

    (first, *met), near = seconds(surface)
    summed, far = seconds(replace(surface, surface=None))
    unit = float(np.mean(summed))
    apart = [np.median(np.abs(a - b)[(a > 0) & (b > 0)]) for a, b in zip(near, far, strict=True)]
    print(f"volume rendering: {unit:.2f} s a view")
    print(f"ray casting: the first view {unit / first:.1f} times as fast, every other {unit / np.mean(met):.1f} times")
    print(f"median difference of depth {np.mean(apart):.4f} EG3D units")


if __name__ == "__main__":
    main()
