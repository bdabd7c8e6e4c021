"""Where faces stand in a model's world, by the face that landmarks are compared with."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class StandardFace:
    """Where MediaPipe's canonical face stands: `scale` EG3D units for its centimetre, turned by `tilt` radians about x.

    Then its origin lies at (0, `height`, `depth`) in EG3D units. The defaults are of the world of EG3D's official
    labels, fitted once to crops that have some. A camera fitted to a face that stands elsewhere is off to the side of
    a turned head.
    """

    scale: float = math.exp(-3.7411)
    tilt: float = -0.0050
    height: float = 0.01416
    depth: float = 0.10969


EG3D_FACE = StandardFace()
