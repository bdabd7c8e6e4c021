"""The skin's picture: a photographed skin brought to another tone, with detail, lips, hair roots and stubble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from tpn_engine.training.heads.assets import ATLAS_HEIGHT, ATLAS_WIDTH, HeadAssets
from tpn_engine.training.heads.parameters import HeadParameters, brow_color

NOISE_SIZE = 1024
NOISE_RADII = (1.0, 4, 16, 48)  # texels
DARKEST, LIGHTEST = np.float32(0.02), np.float32(6)  # of a skin's texels, relative to the face's mean
BARE_SCALP = np.array([0.97, 0.95, 0.93], np.float32)  # its tint, relative to the face's mean
GAMMA = 2.2


@dataclass(frozen=True)
class Region:
    """Where a mask is not zero: flat texel indices [N] and its values [N] in (0,255], float32."""

    texels: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Photograph:
    """A skin texture, channel by channel: uint8 [3,H*W]; the face's `mean` linear RGB [3].

    `scalp_grain` [S] is the fine variation under the hair that is painted onto these pictures.
    """

    channels: np.ndarray
    mean: np.ndarray
    scalp_grain: np.ndarray


@dataclass(frozen=True)
class Coat:
    """Linear RGB `color` [3] laid over a region with `strength`; `multiply` tints, else it covers."""

    region: str
    color: np.ndarray
    strength: float


class SkinPainter:
    """Paints skin atlases, uint8 [ATLAS_HEIGHT,ATLAS_WIDTH,3] sRGB."""

    def __init__(self, assets: HeadAssets):
        self._textures = assets.textures
        self._face = assets.masks["face"].astype(np.float32) / 255
        self._regions = {name: _region(mask) for name, mask in assets.masks.items()}
        self._to_linear = np.power(np.arange(256) / 255.0, GAMMA).astype(np.float32)
        self._to_srgb = (np.power(np.arange(4096) / 4095.0, 1 / GAMMA) * 255).astype(np.uint8)
        rng = np.random.default_rng(0)
        self._noise = [periodic_noise(radius, rng) for radius in NOISE_RADII]
        self._photographs: dict[str, Photograph] = {}

    def paint(self, head: HeadParameters) -> np.ndarray:
        """The atlas of one head."""
        photograph = self._photograph(head.skin.picture)
        relative = self._relative(photograph, np.float32(head.skin.contrast))
        lips = self._regions["lips"]
        lip_brightness = relative[:, lips.texels].mean(0)
        color = relative
        color *= head.skin.linear_tone.astype(np.float32)[:, None]
        self._apply_detail(color, head)
        self._paint_lips(color, lip_brightness, head)
        grain_rng = head.rng("paint")
        grain = np.clip((grain_rng.random(ATLAS_HEIGHT * ATLAS_WIDTH).astype(np.float32) - 0.25) * 1.4, 0, 1)
        for coat in coats(head, grain_rng):
            self._apply(coat, color, grain, bald=head.hair == "bald")
        np.clip(color, 0, 1, out=color)
        color *= np.float32(4095)
        srgb = self._to_srgb[color.astype(np.int16)]
        return np.ascontiguousarray(srgb.T).reshape(ATLAS_HEIGHT, ATLAS_WIDTH, 3)

    def _photograph(self, name: str) -> Photograph:
        if name not in self._photographs:
            texture = self._textures[name]
            linear = self._to_linear[texture]
            mean = (linear * self._face[..., None]).sum((0, 1)) / self._face.sum()
            luminance = linear.mean(2)
            grain = np.clip((luminance + 0.01) / (uniform_filter(luminance, 9) + 0.01), 0.85, 1.12)
            self._photographs[name] = Photograph(
                np.ascontiguousarray(texture.reshape(-1, 3).T), mean, grain.ravel()[self._regions["scalp"].texels]
            )
        return self._photographs[name]

    def _relative(self, photograph: Photograph, contrast: np.float32) -> np.ndarray:
        """Linear colour relative to the face's mean, with painted hair taken off the scalp, [3,H*W]."""
        relative = np.empty(photograph.channels.shape, np.float32)
        scalp = self._regions["scalp"]
        cover = scalp.values / 255
        for channel, mean in enumerate(photograph.mean):
            texels = photograph.channels[channel]
            table = np.power(np.clip(self._to_linear / mean, DARKEST, LIGHTEST), contrast)
            relative[channel] = table[texels]
            bare = mean * photograph.scalp_grain * BARE_SCALP[channel]
            shaved = self._to_linear[texels[scalp.texels]] * (1 - cover) + bare * cover
            relative[channel, scalp.texels] = np.power(np.clip(shaved / mean, DARKEST, LIGHTEST), contrast)
        return relative

    def _apply_detail(self, color: np.ndarray, head: HeadParameters) -> None:
        """Multiply `color` [3,H*W] by pores, blotches and sometimes freckles; the pattern repeats."""
        rng = head.rng("skin")

        def noise(index: int) -> np.ndarray:
            shift = (int(rng.integers(NOISE_SIZE)), int(rng.integers(NOISE_SIZE)))
            return np.roll(self._noise[index], shift, (0, 1))[:, :ATLAS_WIDTH]

        f = np.float32
        pores = 1 + f(0.018) * noise(0) + f(0.02) * noise(1)
        redness = f(0.022) * noise(2) + f(0.022) * noise(3)
        freckles = None
        if rng.random() < 0.22:
            freckles = np.clip(noise(1) - f(rng.uniform(1.0, 1.8)), 0, 1) * f(head.skin.freckles)
        rows = color.reshape(3, ATLAS_HEIGHT, ATLAS_WIDTH)
        for channel, (red, speckle) in enumerate(((f(0.3), f(0.22)), (f(-0.6), f(0.38)), (f(-0.8), f(0.5)))):
            detail = pores + redness * red
            if freckles is not None:
                detail *= 1 - freckles * speckle
            for first in range(0, ATLAS_HEIGHT, NOISE_SIZE):
                part = rows[channel, first : first + NOISE_SIZE]
                part *= detail[: len(part)]

    def _paint_lips(self, color: np.ndarray, brightness: np.ndarray, head: HeadParameters) -> None:
        lips = self._regions["lips"]
        weight = lips.values / 255 * np.float32(head.skin.lip_strength)
        shading = np.clip(brightness / np.float32(0.75), 0.6, 1.3)
        for channel, value in enumerate(head.skin.lip_color.astype(np.float32)):
            skin = color[channel, lips.texels]
            mixed = skin * np.float32(0.35) + value * shading * np.float32(0.65)
            color[channel, lips.texels] = skin * (1 - weight) + mixed * weight

    def _apply(self, coat: Coat, color: np.ndarray, grain: np.ndarray, *, bald: bool) -> None:
        region = self._regions[coat.region]
        weight = region.values * np.float32(coat.strength / 255)
        if coat.region != "blush":
            here = grain[region.texels]
            if coat.region == "scalp" and not bald:  # under hair the scalp is nearly covered
                here = np.float32(0.72) + np.float32(0.28) * here
            weight *= here * np.float32(0.94)
        for channel, value in enumerate(coat.color.astype(np.float32)):
            skin = color[channel, region.texels]
            laid = skin * value if coat.region == "blush" else value
            color[channel, region.texels] = skin * (1 - weight) + laid * weight


def coats(head: HeadParameters, rng: np.random.Generator) -> Iterator[Coat]:
    """What is painted over the skin, in order: blush, hair roots, stubble, brows, eye shadow."""
    tone = head.skin.linear_tone
    yield Coat("blush", np.array([1.0, 0.80, 0.80]), float(rng.uniform(0, 0.8)))
    if head.hair != "bald":
        yield Coat("scalp", np.clip(head.hair_color * 0.5, 0.004, 0.3), 0.9)
    elif rng.random() < 0.5:
        yield Coat("scalp", np.clip(head.hair_color * 0.5, 0.004, 0.3), float(rng.uniform(0.15, 0.7)))
    if head.beard.fullness > 0:
        yield Coat(head.beard.area, np.clip(head.hair_color * 0.45 + tone * 0.05, 0.004, 0.4), head.beard.fullness)
    if head.brows.hairs > 0:
        yield Coat("brow", brow_color(head), 0.55)
    if head.identity.gender < 0.4 and rng.random() < 0.3:
        yield Coat("eyelid", np.clip(tone * 0.4 * np.array([1, 0.85, 0.9]), 0, 1), float(rng.uniform(0.05, 0.25)))


def _region(mask: np.ndarray) -> Region:
    texels = np.flatnonzero(mask)
    return Region(texels, mask.ravel()[texels].astype(np.float32))


def periodic_noise(radius: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of unit variance that repeats, float32 [NOISE_SIZE,NOISE_SIZE]."""
    white = rng.normal(0, 1, (NOISE_SIZE, NOISE_SIZE)).astype(np.float32)
    smooth = gaussian_filter(white, radius, mode="wrap")
    return smooth / smooth.std()
