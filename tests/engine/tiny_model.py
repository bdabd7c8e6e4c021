"""A whole TriPlaneNet so small that tests run in seconds, with random weights, and a portrait for it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from tpn_engine.camera import Camera
from tpn_engine.checkpoints import Model, load_model, save_model
from tpn_engine.nets.presets import (
    BodyPreset,
    GeneratorPreset,
    Preset,
    PspPreset,
    RefinerPreset,
    RenderingPreset,
)
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.portrait import Portrait, PortraitWarning


def tiny_preset() -> Preset:
    """Its surface is where about half of the random densities lie below."""
    body = BodyPreset(channels=(16, 16, 16, 32, 32), units=(1, 1, 2, 1))
    generator = GeneratorPreset(
        z_dim=16,
        w_dim=32,
        channel_base=512,
        channel_max=32,
        plane_resolution=32,
        plane_channels=8,
        plane_axes="xy_xz_yz",
        decoder_hidden=16,
        render_resolution=16,
        rendering=RenderingPreset(depth_samples=12, importance_samples=12),
        super_resolution=None,
        image_resolution=32,
    )
    return Preset(
        name="tiny",
        generator=generator,
        psp=PspPreset(resolution=64, body=body, head_channels=16),
        refiner=RefinerPreset(version=2, pictures="front", passes=2, finer=2, resolution=32, body=body),
        matted=True,
        iso_level=0.7,
    )


def tiny_network(seed: int = 0) -> TriPlaneNet:
    torch.manual_seed(seed)
    network = TriPlaneNet(tiny_preset()).eval().requires_grad_(False)
    network.latent_avg = torch.randn(32)
    return network


def tiny_weights(folder: Path, seed: int = 0) -> Path:
    """The path of a tiny model saved into `folder`."""
    path = folder / "tiny.safetensors"
    save_model(tiny_network(seed), "tiny", path, licence="CC0-1.0", origin="random weights for tests")
    return path


def tiny_model(folder: Path, seed: int = 0) -> Model:
    return load_model(tiny_weights(folder, seed))


def disc_portrait() -> Portrait:
    """A coloured disc in front of a pattern, its matte exact."""
    y, x = (np.mgrid[0:512, 0:512] + 0.5) / 512
    matte = (np.hypot(x - 0.5, y - 0.5) < 0.35).astype(np.float32)
    crop = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.float32)
    crop[matte == 0] = (np.sin(40 * x) * 0.5 + 0.5)[matte == 0, None]
    return Portrait(
        crop=crop,
        camera=Camera.orbit(10, 5),
        matte=matte,
        landmarks=np.zeros((468, 3), np.float32),
        score=1.0,
        faces=1,
        box=(0.0, 0.0, 512.0, 512.0),
        name="disc.png",
        sha256=hashlib.sha256(b"disc").hexdigest(),
        warnings=(PortraitWarning("low_resolution", "The face is small."),),
    )
