"""How long a photo takes to become a coloured 256^3 mesh with the official preset, in units of a yardstick.

The authors' code was measured at 64 s where the yardstick (a 3x3 convolution 256 -> 256 on 128x128, float32, two
threads) took 0.115 s, that is 557 yardsticks: pSp, two syntheses and four renders of the whole forward pass, and the
shape extraction. Ours does the same work once, in the same run and on the same machine as its yardstick. Weights
are random ones from a fixed rule, as in the parity tests.

    python benchmarks/photo_to_mesh.py [--threads 2]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engine"))
import goldens  # pyright: ignore[reportMissingImports]

from tpn_engine.camera import Camera
from tpn_engine.checkpoints import Model
from tpn_engine.inversion.invert import invert
from tpn_engine.nets.presets import ffhq512_128
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.portrait import PortraitReader
from tpn_engine.surface import MeshOptions, extract_mesh

AUTHORS_SECONDS, AUTHORS_YARDSTICK = 64.0, 0.115


def yardstick() -> float:
    """Seconds of the convolution, the best of five."""
    x, weight = torch.randn(1, 256, 128, 128), torch.randn(256, 256, 3, 3)
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        torch.nn.functional.conv2d(x, weight, padding=1)
        best = min(best, time.perf_counter() - started)
    return best


def official_model() -> Model:
    """TriPlaneNet v2 at the authors' sizes with deterministic weights."""
    preset = ffhq512_128(2)
    network = TriPlaneNet(preset).eval().requires_grad_(False)
    goldens.fill(network, network="triplanenet_v2_pixelshuffle_false")
    network.latent_avg = goldens.latent_avg()
    return Model("ffhq512-128", preset, network, sha256="", licence="none", origin="a fixed rule")


@torch.inference_mode()
def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    model, reader = official_model(), PortraitReader()
    photo = Image.fromarray(skimage.data.astronaut())
    unit = yardstick()
    started = time.perf_counter()
    portrait = reader.read(photo)
    read = time.perf_counter()
    capture = invert(model, portrait)
    inverted = time.perf_counter()
    mesh = extract_mesh(capture.field, MeshOptions(resolution=256, largest_component=False))
    done = time.perf_counter()
    total = done - started
    assert isinstance(capture.camera, Camera)
    assert np.isfinite(mesh.colors).all()
    print(f"portrait {read - started:.2f} s, inversion {inverted - read:.2f} s, mesh {done - inverted:.2f} s")
    print(f"mesh: {len(mesh.vertices)} vertices; yardstick {unit:.3f} s")
    ratio = (AUTHORS_SECONDS / AUTHORS_YARDSTICK) / (total / unit)
    print(f"photo to mesh {total:.1f} s = {total / unit:.0f} yardsticks; the authors' 557: {ratio:.1f} x faster")


if __name__ == "__main__":
    main()
