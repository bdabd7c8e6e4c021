"""Heads that nobody has: python -m tpn_engine.training.draws MODEL SHEET."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tpn_engine.checkpoints import Model, load_model
from tpn_engine.errors import HeadCaptureError
from tpn_engine.files import replacing
from tpn_engine.nets.field import TriplaneField
from tpn_engine.views import render_view
from tpn_engine.views.cameras import around

YAWS = (0.0, 30.0, -30.0, 15.0)  # degrees, from draw to draw, so that a sheet shows more than fronts


@torch.no_grad()
def draw(model: Model, seed: int, truncation: float = 0.7) -> TriplaneField:
    """The head of a random z, moved toward the average by `truncation` (1: not at all); the same for a seed."""
    generator = model.network.decoder
    device = next(generator.parameters()).device
    z = torch.randn(1, generator.preset.z_dim, generator=torch.Generator().manual_seed(seed)).to(device)
    label = torch.from_numpy(around(0.0).label)[None].to(device)
    codes = generator.mapping(z, label, truncation_psi=truncation)
    return replace(generator.field(generator.planes(codes)[0]), surface=model.preset.surface)


def sheet(model: Model, count: int = 64, size: int = 128, columns: int = 8) -> Image.Image:
    """`count` draws of the seeds from 0, row by row."""
    rendering = model.preset.generator.rendering
    views = [
        render_view(draw(model, seed), around(YAWS[seed % len(YAWS)]), size=size, rendering=rendering).rgb
        for seed in range(count)
    ]
    rows = [np.concatenate(views[start : start + columns], axis=1) for start in range(0, count, columns)]
    return Image.fromarray((np.concatenate(rows).clip(0, 1) * 255).round().astype(np.uint8))


def main() -> int:
    """Entry point; 1 with one line when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tpn_engine.training.draws", description=__doc__)
    parser.add_argument("model", help="a model's name or the path of its .safetensors")
    parser.add_argument("sheet", type=Path, help="the picture to write")
    options = parser.parse_args()
    try:
        picture = sheet(load_model(options.model))
        with replacing(options.sheet) as unfinished:
            picture.save(unfinished, format="PNG")
    except HeadCaptureError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
