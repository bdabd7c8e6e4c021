"""A picture of a radiance field from any camera."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.errors import OptionError
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.presets import RenderingPreset
from tpn_engine.nets.volume import rays, render_rays
from tpn_engine.progress import SILENT, Progress
from tpn_engine.views.normals import surface_normals
from tpn_engine.views.sampling import sampling_from
from tpn_engine.views.surface import surface_pixels

_POINTS_AT_ONCE = 2**19  # samples along rays held in memory together; 32 channels of three planes each

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

    A cloud by volume rendering as `rendering` says, a surface by the first points that rays meet. Reports as
    `stage`. Raises OptionError for a size outside 16 to 4096 and CancelledError.
    """
    if not 16 <= size <= 4096:
        raise OptionError("The size of a view must be between 16 and 4096 pixels.")
    label = torch.from_numpy(camera.label).to(field.planes.device)[None]
    report = partial(progress, stage)
    if field.surface is None:
        pixels = _cloud_pixels(field, label, size, sampling_from(camera, rendering), report)
    else:
        pixels = surface_pixels(field, field.surface, label, size, report)
    directions = rays(label, size)[1][0]
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


def _cloud_pixels(
    field: TriplaneField, label: Tensor, size: int, rendering: RenderingPreset, report: Callable[[float], None]
) -> Tensor:
    """Colours, coverage and distance along the ray [S*S, 5], summed along each pixel's ray."""
    origins, directions = (part[0] for part in rays(label, size))
    pixels = torch.empty(size * size, 5, device=label.device)
    step = max(1, _POINTS_AT_ONCE // (rendering.depth_samples + rendering.importance_samples))
    for start in range(0, len(pixels), step):
        report(start / len(pixels))
        part = slice(start, start + step)
        seen = render_rays(
            field.planes[None],
            field.decoder,
            field.axes,
            field.box,
            origins[None, part],
            directions[None, part],
            rendering,
            silhouette=field.silhouette,
        )
        pixels[part] = torch.cat([(seen.features[0, :, :3] + 1) / 2, seen.weights[0], seen.depth[0]], dim=1)
    return pixels
