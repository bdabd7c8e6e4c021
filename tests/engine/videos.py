"""What a video file shows when it is read back."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def decoded(path: Path) -> list[np.ndarray]:
    """Its frames, each [H, W, 3] uint8."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
