# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which build of torch fits this machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu128"


def torch_index() -> str | None:
    """The index whose torch fits better than PyPI's; None where PyPI's is the right one.

    PyPI's torch for Linux brings several GB of CUDA, of no use without an NVIDIA driver; PyPI's torch for
    Windows has no CUDA at all. macOS has one build for all.
    """
    if sys.platform == "linux":
        return None if has_nvidia_driver() else CPU_INDEX
    if sys.platform == "win32":
        return CUDA_INDEX if has_nvidia_driver() else None
    return None


def has_nvidia_driver() -> bool:
    """Whether the system has a driver for NVIDIA cards; the card itself is not looked for."""
    if sys.platform == "win32":
        system = Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32"
        return (system / "nvcuda.dll").is_file()
    return Path("/proc/driver/nvidia/version").is_file() or shutil.which("nvidia-smi") is not None
