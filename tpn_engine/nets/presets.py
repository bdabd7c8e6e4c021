"""Every width, depth and resolution of the networks, as named sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tpn_engine.nets.box import Box
from tpn_engine.standard_face import EG3D_FACE, StandardFace

PlaneAxes = Literal["xy_xz_zx", "xy_xz_yz"]
SuperResolutionKind = Literal["8xdc", "8x", "4x", "2x"]
MeshColors = Literal["photo", "model"]

# Our heads stand where Deep3D's do. EG3D's labels move them by (0, 0.006, 0.161) and scale that to the camera's radius
# again. Scale and place were fitted to landmarks found in 1,079 pictures of 270 training heads; the tilt is EG3D's, as
# found in photos: in our pictures landmarks are found 2.8 degrees off.
DEEP3D_FACE = StandardFace(scale=0.02491, tilt=-0.0050, height=0.0098, depth=-0.0508)

HEAD_BOX = Box(back=0.15)  # the backs of four in ten heads lie behind EG3D's cube


@dataclass(frozen=True)
class RenderingPreset:
    """How rays are sampled: distances along the ray in EG3D units, samples per pass.

    With `box_limits` each ray starts and ends where it meets the box instead; one that misses it is
    "sampled" between the others' first and last entry, as by the authors, or "empty". Samples of the first
    pass are evenly spaced in depth or in its inverse. A ray that meets nothing is black or white.
    """

    ray_start: float = 2.25
    ray_end: float = 3.3
    depth_samples: int = 48
    importance_samples: int = 48
    box_limits: bool = False
    missed: Literal["sampled", "empty"] = "sampled"
    spacing: Literal["depth", "disparity"] = "depth"
    white_background: bool = False


@dataclass(frozen=True)
class SuperResolutionPreset:
    """StyleGAN2 blocks after the volume rendering; widths as in EG3D."""

    kind: SuperResolutionKind = "8xdc"
    input_resolution: int = 128
    conv_clamp: float = 256.0
    antialias: bool = True


@dataclass(frozen=True)
class GeneratorPreset:
    """EG3D generator.

    Backbone channels are min(channel_base / resolution, channel_max). `plane_axes` names what the
    second and third plane are spanned by: the official weights were trained with ZX twice.
    Without super-resolution the image is the volume rendering itself.
    """

    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 2
    channel_base: int = 32768
    channel_max: int = 512
    plane_resolution: int = 256
    plane_channels: int = 32
    plane_axes: PlaneAxes = "xy_xz_zx"
    decoder_hidden: int = 64
    box_warp: float = 1.0
    box_back: float = 0.0
    render_resolution: int = 128
    rendering: RenderingPreset = RenderingPreset()
    super_resolution: SuperResolutionPreset | None = SuperResolutionPreset()
    image_resolution: int = 512

    @property
    def box(self) -> Box:
        """What the fields fill: EG3D's cube of edge `box_warp`, and `box_back` behind it."""
        return Box(self.box_warp, self.box_back)


@dataclass(frozen=True)
class DiscriminatorPreset:
    """StyleGAN2 residual discriminator; channels are min(channel_base / resolution, channel_max).

    With labels it is conditioned by projection through a mapping network. `group_size` is the
    minibatch deviation's (None: the whole batch).
    """

    resolution: int = 512
    image_channels: int = 3
    label_dim: int = 0
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    conv_clamp: float = 256.0
    group_size: int | None = None


@dataclass(frozen=True)
class BodyPreset:
    """IR-SE ResNet body: channels of the stem and of the four stages, units in each stage."""

    channels: tuple[int, int, int, int, int] = (64, 64, 128, 256, 512)
    units: tuple[int, int, int, int] = (3, 4, 14, 3)


@dataclass(frozen=True)
class PspPreset:
    """pSp encoder: photos at `resolution`, feature taps after stages 2, 3 and 4, width of the style heads."""

    resolution: int = 256
    body: BodyPreset = BodyPreset()
    head_channels: int = 512


@dataclass(frozen=True)
class RefinerPreset:
    """Refinement auto-encoder: version 1 (6 channels in) or 2 (9 channels, planes concatenated).

    Its pictures are taken by the source camera as in the paper, or off the pivot's front on the XY plane's
    grid (`nets.front`, version 2 only). Those of the front can be taken again, off what the first of the
    `passes` made, to refine that; and with them the refined XY plane can be two, one for what is `behind`.
    Last, the planes can be made `finer` times as fine, and the first of them be given the detail that the
    front shows at that size.
    """

    version: Literal[1, 2] = 2
    pictures: Literal["camera", "front"] = "camera"
    passes: int = 1
    behind: bool = False
    finer: int = 1
    resolution: int = 256
    pixel_shuffle: bool = False
    body: BodyPreset = BodyPreset()


@dataclass(frozen=True)
class Preset:
    """A whole TriPlaneNet. `matted` models see the person on black, and the matte as a fourth channel.

    The heads of `opaque` models are surfaces: their density leaps at `iso_level`, and a pixel shows the point where
    its ray meets that; a matte's silhouette bounds them. Those of others are clouds, whose pixels are sums along the
    ray. `face` is where the standard face stands in the world that the model was trained in.

    Its meshes, unless asked otherwise: the surface at `iso_level`, the fraction `border` of the lattice left
    out at each side, the neck cut at the height `floor`, the vertices' `colors` those of the photo or the
    decoder's alone.
    """

    name: str
    generator: GeneratorPreset
    psp: PspPreset
    refiner: RefinerPreset
    matted: bool = False
    opaque: bool = False
    iso_level: float = 10.0
    border: float = 0.0
    floor: float | None = None
    colors: MeshColors = "model"
    face: StandardFace = EG3D_FACE

    @property
    def photo_channels(self) -> int:
        """Channels of the photos that the networks take."""
        return 4 if self.matted else 3

    @property
    def surface(self) -> float | None:
        """The level at which the density of opaque heads leaps; None for clouds."""
        return self.iso_level if self.opaque else None

    @property
    def bounded(self) -> bool:
        """Whether the silhouette of a photo's matte bounds the heads."""
        return self.matted and self.opaque


def ffhq512_128(version: Literal[1, 2] = 2, pixel_shuffle: bool = False) -> Preset:
    """The authors' models: EG3D ffhq512-128 with TriPlaneNet v1 (always pixel shuffle) or v2."""
    return Preset(
        name="ffhq512-128",
        generator=GeneratorPreset(),
        psp=PspPreset(),
        refiner=RefinerPreset(version=version, pixel_shuffle=version == 1 or pixel_shuffle),
        border=30 / 256,  # EG3D's own scripts cut it off
    )


def synthetic_heads() -> Preset:
    """The embedded model: small enough to train on two cores and to run in seconds on them."""
    small = BodyPreset(channels=(32, 32, 64, 128, 256), units=(2, 2, 4, 2))
    return Preset(
        name="synthetic-heads",
        generator=GeneratorPreset(
            z_dim=128,
            w_dim=256,
            channel_base=4096,
            channel_max=256,
            plane_resolution=128,
            plane_axes="xy_xz_yz",
            box_back=HEAD_BOX.back,
            render_resolution=48,
            rendering=RenderingPreset(depth_samples=24, importance_samples=24, box_limits=True, missed="empty"),
            super_resolution=None,
            image_resolution=256,
        ),
        psp=PspPreset(resolution=128, body=small, head_channels=64),
        refiner=RefinerPreset(version=2, pictures="front", passes=2, behind=True, finer=2, resolution=128, body=small),
        matted=True,
        opaque=True,
        border=0.01,
        floor=-0.37,  # portraits end above it: shoulders are guesses, and ragged ones
        colors="photo",
        face=DEEP3D_FACE,
    )
