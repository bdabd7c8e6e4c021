"""The decoder's colours at the mesh's vertices."""

from __future__ import annotations

import numpy as np
import torch

from tpn_engine.nets.field import TriplaneField


def vertex_colors(field: TriplaneField, vertices: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] at `vertices` [N, 3] (EG3D units), [N, 3] float32."""
    points = torch.from_numpy(vertices).to(field.planes.device)
    with torch.no_grad():
        return field.colors(points).cpu().numpy()
