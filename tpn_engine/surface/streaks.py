"""The model's colours on a head, without streaks along its sides.

A texel of the front plane serves all depths. What a photo shows on the rim of a face is written there, and runs back
along the side of the head to where the plane behind takes over. Where a surface is turned away from the front, that
plane's features are averaged over a neighbourhood, and taken from farther inside the photo's outline, along which light
from behind makes a white rim that isn't the skin's: sides keep what the other planes know of them, such as ears.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from tpn_engine.camera import Camera
from tpn_engine.nets.field import TriplaneField, sample_detail, sample_planes
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.surface.colors import vertex_colors
from tpn_engine.surface.sight import rise, sample

RIM, GENTLE = 0.04, 0.01  # widths of the crop: how far inside the outline, and the smoothing of the way there
REACH = 0.012  # EG3D units, standard deviation of the average
SIDE, BACK = (0.25, 0.6), (-0.6, -0.2)  # z of normals over which a head's side begins, and its back


def even_colors(
    field: TriplaneField, vertices: np.ndarray, normals: np.ndarray, outline: Silhouette | None
) -> np.ndarray:
    """sRGB in [0, 1] at `vertices` [N, 3] (EG3D units) with these `normals` [N, 3], [N, 3] float32.

    What a photo's `outline` is near to has the front plane's features of farther inside it.
    """
    colors = vertex_colors(field, vertices)
    share = ((1 - rise(normals[:, 2], SIDE)) * rise(normals[:, 2], BACK)).astype(np.float32)[:, None]
    aside = share[:, 0] > 0
    reach = REACH / field.box.warp * field.planes.shape[-1]
    front = ndimage.gaussian_filter(field.planes[0].cpu().numpy(), (0, reach, reach), mode="nearest")
    even = torch.from_numpy(front).to(field.planes.device)
    points = torch.from_numpy(vertices[aside]).to(field.planes.device)[None]
    inner = points if outline is None else torch.from_numpy(drawn_in(vertices[aside], outline)).to(points)[None]
    count = len(field.planes)
    with torch.no_grad():
        features = sample_planes(field.planes[None], points, field.axes, field.box)
        features = features - sample_detail(field.planes[:1], points, count, field.box)
        features = features + sample_detail(even[None], inner, count, field.box)
        side = field.decoder(features[0])[1][:, :3].clamp(0, 1).cpu().numpy()
    colors[aside] += share[aside] * (side - colors[aside])
    return colors


def drawn_in(vertices: np.ndarray, outline: Silhouette) -> np.ndarray:
    """Vertices [N, 3] moved across the view to where they are RIM inside an outline, [N, 3] float32."""
    camera = Camera.from_label(outline.label.cpu().numpy())
    smooth = outline.smoothed(GENTLE).distance[0, 0].cpu().numpy()
    inward = np.stack(np.gradient(smooth)[::-1], axis=-1) * outline.crop_size  # widths a width
    places, depth = np.split(camera.project(vertices), [2], axis=1)
    framed = places.clip(0, 1)
    steps = sample(inward, framed) * np.maximum(RIM - sample(smooth, framed), 0)[:, None]
    moved = vertices + camera.across(steps / outline.widths, depth)
    moved[:, 2] = vertices[:, 2]
    return moved.astype(np.float32)
