"""Loads the portrait nets that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

FOLDER = Path(__file__).parent.parent / "weights" / "portrait"

Net = TypeVar("Net", bound=nn.Module)


def load_net(net: Net, name: str, device: torch.device) -> Net:
    """Fill `net` from the shipped file `name` as float32, ready to run on `device`."""
    tensors = load_file(FOLDER / f"{name}.safetensors")
    net.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    return net.eval().requires_grad_(False).to(device)


def canonical_face() -> np.ndarray:
    """MediaPipe's canonical face: 468 points in cm, x subject's left, y up, z toward the viewer."""
    return np.load(FOLDER / "canonical_face.npy").astype(np.float64)
