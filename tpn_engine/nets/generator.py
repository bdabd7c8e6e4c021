"""The EG3D generator: latent codes to tri-planes to images (Chan et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.presets import GeneratorPreset, RenderingPreset
from tpn_engine.nets.stylegan2 import Noise, StyleGan2
from tpn_engine.nets.superresolution import SuperResolution
from tpn_engine.nets.volume import rays, render_rays

LABEL_DIM = 25


@dataclass(frozen=True)
class RawView:
    """A volume rendering: features [B, C, R, R] in [-1, 1] whose first three channels are RGB, distance
    along the ray [B, 1, R, R] (meaningless where nothing is covered), and coverage [B, 1, R, R]."""

    features: Tensor
    depth: Tensor
    weights: Tensor

    @property
    def image(self) -> Tensor:
        """RGB [B, 3, R, R] in [-1, 1]."""
        return self.features[:, :3]


@dataclass(frozen=True)
class GeneratedView:
    """A generated image [B, 3, S, S] and the volume rendering beneath it: raw [B, 3, R, R], depth and
    weights [B, 1, R, R]. Images in about [-1, 1]."""

    image: Tensor
    raw: Tensor
    depth: Tensor
    weights: Tensor


class Generator(nn.Module):
    """EG3D: a mapping network, StyleGAN2 synthesis of three feature planes, a volume renderer, and a
    super-resolution if the preset has one. State-dict keys are those of the official `G_ema`."""

    def __init__(self, preset: GeneratorPreset):
        super().__init__()
        self.preset = preset
        self.backbone = StyleGan2(
            preset.z_dim,
            LABEL_DIM,
            preset.w_dim,
            preset.mapping_layers,
            preset.plane_resolution,
            3 * preset.plane_channels,
            preset.channel_base,
            preset.channel_max,
        )
        self.decoder = Decoder(preset.plane_channels, preset.decoder_hidden)
        self.superresolution = (
            SuperResolution(preset.super_resolution, preset.plane_channels, preset.w_dim)
            if preset.super_resolution
            else None
        )
        self.num_ws = self.backbone.num_ws

    def mapping(
        self, z: Tensor, label: Tensor, truncation_psi: float = 1.0, truncation_cutoff: int | None = None
    ) -> Tensor:
        """Latents [B, z_dim] and the camera labels they are conditioned on [B, 25] to ws [B, num_ws, w_dim].

        Truncation moves the first `truncation_cutoff` w's (all by default) toward the average w.
        """
        w = self.backbone.mapping(z, label)
        ws = w[:, None].repeat(1, self.num_ws, 1)
        if truncation_psi != 1:
            truncated = self.backbone.mapping.w_avg.lerp(ws[:, :truncation_cutoff], truncation_psi)
            ws = torch.cat([truncated, ws[:, truncated.shape[1] :]], dim=1)
        return ws

    def planes(self, ws: Tensor, noise: Noise = "constant") -> Tensor:
        """Feature planes [B, 3, C, H, W] of ws [B, num_ws, w_dim], in whatever memory layout is at hand."""
        return self.backbone.synthesis(ws, noise).unflatten(1, (3, self.preset.plane_channels))

    def field(self, planes: Tensor) -> TriplaneField:
        """The radiance field of one head's planes [3, C, H, W]."""
        return TriplaneField(planes, self.decoder, self.preset.plane_axes, self.preset.box)

    def render(
        self,
        planes: Tensor,
        ws: Tensor,
        label: Tensor,
        *,
        resolution: int | None = None,
        rendering: RenderingPreset | None = None,
        generator: torch.Generator | None = None,
    ) -> GeneratedView:
        """Images of planes [B, 3, C, H, W] from camera labels [B, 25].

        `resolution` is the volume rendering's, by default the preset's. Without a random generator the
        samples along the rays are deterministic.
        """
        view = self.render_raw(planes, label, resolution, rendering=rendering, generator=generator)
        image = view.image
        if self.superresolution is not None:
            image = self.superresolution(view.features, ws)
        return GeneratedView(image, view.image, view.depth, view.weights)

    def render_raw(
        self,
        planes: Tensor,
        label: Tensor,
        resolution: int | None = None,
        *,
        rendering: RenderingPreset | None = None,
        generator: torch.Generator | None = None,
    ) -> RawView:
        """The volume rendering alone, as `render`."""
        size = resolution or self.preset.render_resolution
        origins, directions = rays(label, size)
        result = render_rays(
            planes,
            self.decoder,
            self.preset.plane_axes,
            self.preset.box,
            origins,
            directions,
            rendering or self.preset.rendering,
            generator=generator,
        )
        features, depth, weights = (
            x.transpose(1, 2).unflatten(2, (size, size)) for x in (result.features, result.depth, result.weights)
        )
        return RawView(features, depth, weights)
