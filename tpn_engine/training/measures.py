"""Numbers that compare a rendered view with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.metrics import structural_similarity

HEAD_HEIGHT = 0.62  # EG3D units from chin to crown of an average adult head


@dataclass(frozen=True)
class ViewMeasures:
    """`psnr` in dB over the pixels of either silhouette, `ssim` over their bounding box, `iou` of the
    silhouettes, `depth` the median error in per cent of a head's height where both see the head."""

    psnr: float
    ssim: float
    iou: float
    depth: float


def compare_views(
    rgb: np.ndarray,
    alpha: np.ndarray,
    depth: np.ndarray,
    true_rgb: np.ndarray,
    true_alpha: np.ndarray,
    true_depth: np.ndarray,
) -> ViewMeasures:
    """Compare pictures [S,S,3] on black in [0,1], coverages [S,S] in [0,1], and depths [S,S] along z."""
    seen, truth = alpha > 0.5, true_alpha > 0.5
    either, both = seen | truth, seen & truth
    error = float(np.mean((rgb[either] - true_rgb[either]) ** 2)) if either.any() else 0.0
    rows, columns = np.flatnonzero(either.any(1)), np.flatnonzero(either.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if either.any() else np.s_[:, :]
    similarity = structural_similarity(rgb, true_rgb, channel_axis=2, data_range=1.0, full=True)[1]
    return ViewMeasures(
        psnr=float(-10 * np.log10(max(error, 1e-10))),
        ssim=float(similarity[box].mean()),
        iou=float(both.sum() / max(either.sum(), 1)),
        depth=float(np.median(np.abs(depth - true_depth)[both]) / HEAD_HEIGHT * 100) if both.any() else 100.0,
    )


def mean_measures(measures: list[ViewMeasures]) -> dict[str, float]:
    """Each measure's mean over the views."""
    return {
        name: float(np.mean([getattr(item, name) for item in measures])) for name in ViewMeasures.__dataclass_fields__
    }
