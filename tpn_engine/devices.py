"""Which device the networks run on."""

from __future__ import annotations

import torch

from tpn_engine.errors import DeviceError


def available_devices() -> list[str]:
    """The devices of this machine, the fastest kind first; "cpu" is always the last."""
    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(wanted: str = "auto") -> torch.device:
    """The device of that name, or the fastest for "auto"; raises DeviceError where it is not there."""
    available = available_devices()
    if wanted == "auto":
        return torch.device(available[0])
    if (wanted + ":0" if wanted == "cuda" else wanted) not in available:
        raise DeviceError(f"There is no device {wanted!r} here: choose auto, {', '.join(available)}.")
    return torch.device(wanted)
