"""Numbers that compare a rendered view with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity

from tpn_engine.inversion.losses import ms_ssim
from tpn_engine.training.pictures import PixelView, off_edges

HEAD_HEIGHT = 0.62  # EG3D units from chin to crown of an average adult head
# Normals are those of depth blurred by this part of the picture's edge: the truth is kept as float16, whose
# steps are nearly as large as a pixel.
NORMAL_BLUR = 0.01


@dataclass(frozen=True)
class ViewMeasures:
    """How near one view is to the truth.

    Over the whole picture on black, as papers have it: `mse` of values in [0, 1] and `ms_ssim`. Over the
    head: `psnr` in dB over the pixels of either silhouette, `ssim` over their bounding box, `iou` of the
    silhouettes. Where both see the head: `depth` the median error in per cent of a head's height, `normal`
    the median angle between the surfaces in degrees; None where they share too little to tell. `landmarks`
    the distance of the face's landmarks in per cent of that of the eyes; None where no face was looked for or
    found. `lpips` (Zhang et al. 2018) over the whole picture, and `identity` the cosine between the faces'
    features, in [-1, 1], at the source view; None where their weights aren't present.
    """

    mse: float
    psnr: float
    ssim: float
    ms_ssim: float
    iou: float
    depth: float
    normal: float | None
    landmarks: float | None = None
    lpips: float | None = None
    identity: float | None = None


def compare_views(rgb: np.ndarray, alpha: np.ndarray, depth: np.ndarray, truth: PixelView) -> ViewMeasures:
    """Compare a picture [S,S,3] on black, its coverage [S,S], both in [0,1], and depth [S,S] along z with the truth."""
    true_rgb = truth.on_black()
    covered, truly = alpha > 0.5, truth.alpha > 0.5
    either, both = covered | truly, covered & truly
    squares = (rgb - true_rgb) ** 2
    error = float(np.mean(squares[either])) if either.any() else 0.0
    rows, columns = np.flatnonzero(either.any(1)), np.flatnonzero(either.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if either.any() else np.s_[:, :]
    similarity = structural_similarity(rgb, true_rgb, channel_axis=2, data_range=1.0, full=True)[1]
    return ViewMeasures(
        mse=float(np.mean(squares)),
        psnr=float(-10 * np.log10(max(error, 1e-10))),
        ssim=float(similarity[box].mean()),
        ms_ssim=ms_ssim(_picture(rgb), _picture(true_rgb)).item(),
        iou=float(both.sum() / max(either.sum(), 1)),
        depth=float(np.median(np.abs(depth - truth.depth)[both]) / HEAD_HEIGHT * 100) if both.any() else 100.0,
        normal=_normal_error(depth, truth.depth, both, truth.camera.intrinsics),
    )


def mean_measures(measures: Sequence[ViewMeasures]) -> dict[str, float]:
    """Each measure's mean over the views that have it; those that none has are left out."""
    means = {}
    for field in fields(ViewMeasures):
        values = [getattr(item, field.name) for item in measures]
        known = [value for value in values if value is not None]
        if known:
            means[field.name] = float(np.mean(known))
    return means


def _picture(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32))[None]


def _normal_error(depth: np.ndarray, true_depth: np.ndarray, both: np.ndarray, intrinsics: np.ndarray) -> float | None:
    """Median angle in degrees where `both` see one surface as far as the blur reaches."""
    sigma = NORMAL_BLUR * len(depth)
    reach = max(1, round(3 * sigma))
    one_surface = both
    for picture in (depth, true_depth):
        one_surface = one_surface & off_edges(torch.from_numpy(picture)).numpy()
    where = ndimage.binary_erosion(one_surface, np.ones((2 * reach + 1,) * 2, bool))
    if not where.any():
        return None
    normals = [_normals(picture, where, intrinsics, sigma, reach) for picture in (depth, true_depth)]
    cosine = (normals[0] * normals[1]).sum(1).clip(-1, 1)
    return float(np.degrees(np.median(np.arccos(cosine))))


def _normals(depth: np.ndarray, where: np.ndarray, intrinsics: np.ndarray, sigma: float, reach: int) -> np.ndarray:
    """Unit normals [N,3] in the camera's axes at the N pixels `where` bool [S,S] of depth along z [S,S]."""
    size = len(depth)

    def blurred(rows: int, columns: int) -> np.ndarray:
        along_columns = ndimage.gaussian_filter1d(depth.astype(np.float64), sigma, axis=0, order=rows, radius=reach)
        return ndimage.gaussian_filter1d(along_columns, sigma, axis=1, order=columns, radius=reach)[where][:, None]

    (fx, _, cx), (_, fy, cy) = intrinsics[:2].astype(np.float64)
    row, column = (np.argwhere(where).T + 0.5) / size
    ray = np.stack([(column - cx) / fx, (row - cy) / fy, np.ones_like(row)], axis=1)
    # A point is z * ray: the product rule gives the surface's tangents along row and column.
    right = blurred(0, 1) * size * ray + blurred(0, 0) * [1 / fx, 0, 0]
    below = blurred(1, 0) * size * ray + blurred(0, 0) * [0, 1 / fy, 0]
    normal = np.cross(right, below)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)
