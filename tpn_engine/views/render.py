"""A picture of a radiance field from any camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.errors import OptionError
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.presets import RenderingPreset
from tpn_engine.nets.volume import rays, render_rays
from tpn_engine.progress import SILENT, Progress
from tpn_engine.surface.raycast import cast_rays
from tpn_engine.views.normals import surface_normals
from tpn_engine.views.sampling import sampling_from

_POINTS_AT_ONCE = 2**19  # samples along rays held in memory together; 32 channels of three planes each

_RAYS_AT_ONCE = 2**16  # that meet a surface

_OFFICIAL = RenderingPreset()


@dataclass(frozen=True)
class View:
    """What one `camera` sees of the head in `field`.

    `rgb` is [H, W, 3] float32 sRGB in [0, 1] composed over black, `alpha` [H, W] the coverage in
    [0, 1], `depth` [H, W] the distance along the camera's axis in EG3D units, 0 outside the mask.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    camera: Camera
    field: TriplaneField

    @property
    def mask(self) -> np.ndarray:
        """Whether the head covers more than half of the pixel, [H, W] bool."""
        return self.alpha > 0.5

    @cached_property
    def normals(self) -> np.ndarray:
        """The surface's unit normals [H, W, 3], x right, y up, z toward the viewer; 0 outside the mask."""
        return surface_normals(self.field, self.camera, self.depth)


@torch.inference_mode()
def render_view(
    field: TriplaneField,
    camera: Camera,
    size: int = 512,
    *,
    rendering: RenderingPreset = _OFFICIAL,
    progress: Progress = SILENT,
    stage: str = "view",
) -> View:
    """Render `field` from `camera`, `size` x `size` pixels, the same every time.

    A cloud by volume rendering as `rendering` says, a surface by the first point that each ray meets.
    Reports as `stage`. Raises OptionError for a size outside 16 to 4096 and CancelledError.
    """
    if not 16 <= size <= 4096:
        raise OptionError("The size of a view must be between 16 and 4096 pixels.")
    device = field.planes.device
    label = torch.from_numpy(camera.label).to(device)[None]
    origins, directions = (part[0] for part in rays(label, size))
    rendering = sampling_from(camera, rendering)
    samples = rendering.depth_samples + rendering.importance_samples
    step = max(1, _POINTS_AT_ONCE // samples) if field.surface is None else _RAYS_AT_ONCE
    pixels = torch.empty(size * size, 5, device=device)
    for start in range(0, size * size, step):
        progress(stage, start / (size * size))
        part = slice(start, start + step)
        if field.surface is None:
            pixels[part] = _cloud(field, origins[part], directions[part], rendering)
        else:
            pixels[part] = _surface(field, field.surface, origins[part], directions[part])
    forward = label[0, :16].reshape(4, 4)[:3, 2]
    along_axis = pixels[:, 4] * (directions @ forward)
    depth = torch.where(pixels[:, 3] > 0.5, along_axis, 0.0)
    progress(stage, 1.0)
    return View(
        rgb=pixels[:, :3].clamp(0, 1).reshape(size, size, 3).cpu().numpy(),
        alpha=pixels[:, 3].clamp(0, 1).reshape(size, size).cpu().numpy(),
        depth=depth.reshape(size, size).cpu().numpy(),
        camera=camera,
        field=field,
    )


def _cloud(field: TriplaneField, origins: Tensor, directions: Tensor, rendering: RenderingPreset) -> Tensor:
    """Colours, coverage and distance [N, 5] of rays [N, 3], summed along them."""
    seen = render_rays(
        field.planes[None],
        field.decoder,
        field.axes,
        field.box,
        origins[None],
        directions[None],
        rendering,
        silhouette=field.silhouette,
    )
    return torch.cat([(seen.features[0, :, :3] + 1) / 2, seen.weights[0], seen.depth[0]], dim=1)


def _surface(field: TriplaneField, level: float, origins: Tensor, directions: Tensor) -> Tensor:
    """Colours, coverage and distance [N, 5] of rays [N, 3] where they first meet the surface."""
    hits = cast_rays(field, level, origins, directions)
    pixels = torch.cat([torch.zeros_like(origins), hits.hit[:, None], hits.distance[:, None]], dim=1)
    points = origins[hits.hit] + directions[hits.hit] * hits.distance[hits.hit, None]
    pixels[hits.hit, :3] = field.colors(points)
    return pixels
