"""TriPlaneNet inversion: the pivot, then its refinement, both feed-forward (Bhattarai et al., WACV 2024)."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from tpn_engine.capture import Capture
from tpn_engine.checkpoints.load import Model
from tpn_engine.nets.field import TriplaneField
from tpn_engine.portrait import Portrait
from tpn_engine.progress import SILENT, Progress
from tpn_engine.version import __version__


@torch.inference_mode()
def invert(model: Model, portrait: Portrait, progress: Progress = SILENT) -> Capture:
    """The capture of a portrait, on the model's device; reports the stages "pivot" and "refinement".

    Raises CancelledError between the calls of the networks.
    """
    network, preset = model.network, model.preset
    device = next(network.parameters()).device
    picture = portrait.crop * portrait.matte[..., None] if preset.matted else portrait.crop
    photo = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].to(device) * 2 - 1
    label = torch.from_numpy(portrait.camera.label)[None].to(device)

    seconds: dict[str, float] = {}
    progress("pivot", 0.0)
    started = time.perf_counter()
    pivot = network.pivot(photo)
    _wait_for(pivot.planes)
    seconds["pivot"] = time.perf_counter() - started
    progress("pivot", 1.0)
    progress("refinement", 0.0)
    started = time.perf_counter()
    planes = network.refine(pivot, photo, label)
    _wait_for(planes)
    seconds["refinement"] = time.perf_counter() - started
    progress("refinement", 1.0)

    generator = preset.generator
    return Capture(
        field=TriplaneField(planes[0], deepcopy(network.decoder.decoder), generator.plane_axes, generator.box_warp),
        codes=pivot.codes[0],
        camera=portrait.camera,
        rendering=generator.rendering,
        iso_level=preset.iso_level,
        border=preset.border,
        colors=preset.colors,
        crop=_eight_bits(portrait.crop),
        matte=_eight_bits(portrait.matte),
        provenance={
            "photo": {"name": portrait.name, "sha256": portrait.sha256, "faces": portrait.faces},
            "model": {"name": model.name, "sha256": model.sha256, "licence": model.licence},
            "method": "triplanenet",
            "version": __version__,
            "torch": torch.__version__,
            "device": str(device),
            "warnings": [asdict(warning) for warning in portrait.warnings],
            "seconds": seconds,
        },
    )


def _wait_for(planes: Tensor) -> None:
    """Reading a value is the one way to wait that every kind of device has."""
    planes[0, 0, 0, 0, 0].item()


def _eight_bits(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)
