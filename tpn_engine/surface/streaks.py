"""The model's colours on a head, without streaks along its sides.

A texel of the front plane serves all depths. What a photo shows on the rim of a face is written there, and runs back
along the side of the head to where the plane behind takes over. Where a surface is turned away from the front, that
plane's features are averaged over a neighbourhood: sides keep what the other planes know of them, such as ears.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage

from tpn_engine.nets.field import TriplaneField
from tpn_engine.surface.colors import vertex_colors
from tpn_engine.surface.sight import rise

REACH = 0.012  # EG3D units, standard deviation of the average
SIDE, BACK = (0.25, 0.6), (-0.6, -0.2)  # z of normals over which a head's side begins, and its back


def even_colors(field: TriplaneField, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] at `vertices` [N, 3] (EG3D units) with these `normals` [N, 3], [N, 3] float32."""
    colors = vertex_colors(field, vertices)
    share = ((1 - rise(normals[:, 2], SIDE)) * rise(normals[:, 2], BACK)).astype(np.float32)[:, None]
    aside = share[:, 0] > 0
    reach = REACH / field.box.warp * field.planes.shape[-1]
    front = ndimage.gaussian_filter(field.planes[0].cpu().numpy(), (0, reach, reach), mode="nearest")
    planes = torch.cat([torch.from_numpy(front).to(field.planes.device)[None], field.planes[1:]])
    even = vertex_colors(replace(field, planes=planes), vertices[aside])
    colors[aside] += share[aside] * (even - colors[aside])
    return colors
