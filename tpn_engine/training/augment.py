"""What makes synthetic pictures more like photos: colour casts, blur, noise, imperfect mattes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class ColorShift:
    """One exposure, contrast, tint and saturation for all views of a head."""

    gamma: float
    gain: np.ndarray
    saturation: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> ColorShift:
        """Mild casts; a few heads become black-and-white."""
        gain = np.exp(rng.normal(0, 0.1)) * np.exp(rng.normal(0, 0.04, 3))
        saturation = 0.0 if rng.random() < 0.04 else rng.uniform(0.7, 1.25)
        return cls(float(np.exp(rng.normal(0, 0.15))), gain.astype(np.float32), saturation)

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Colours [...,3] in [0,1] shifted; black stays black."""
        shifted = rgb**self.gamma * self.gain
        grey = shifted.mean(-1, keepdims=True)
        return np.clip(grey + (shifted - grey) * self.saturation, 0, 1).astype(np.float32)


def degrade(rgb: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One source view [S,S,3] on black and its matte [S,S] as camera and segmentation would deliver them."""
    image, matte = rgb, alpha
    if rng.random() < 0.5:
        image = ndimage.gaussian_filter(image, (sigma := rng.uniform(0, 1.2), sigma, 0))
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(0, 0.03), image.shape)
    if rng.random() < 0.6:
        kept = _imperfect(alpha, rng)
        image, matte = image * kept[..., None], matte * kept
    return np.clip(image, 0, 1).astype(np.float32), matte.astype(np.float32)


def _imperfect(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A matte [S,S] that eats into the person here and there, as real ones do around hair."""
    size = alpha.shape[0]
    coarse = np.asarray(ndimage.zoom(rng.normal(0, 1, (12, 12)), size / 12, order=1))[:size, :size]
    soft: np.ndarray = ndimage.gaussian_filter(alpha, size / 128 * rng.uniform(0.5, 2.5))
    return np.clip((soft - rng.uniform(0.2, 0.6) + 0.15 * coarse) * 6, 0, 1)
