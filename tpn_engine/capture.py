"""What inversion returns, and everything that is made from it without inverting again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tpn_engine.camera import Camera
from tpn_engine.capture_file import read_capture_file, write_capture_file
from tpn_engine.checkpoints import Model
from tpn_engine.errors import CaptureFileError, OptionError
from tpn_engine.nets.box import Box
from tpn_engine.nets.decoder import Decoder
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.generator import Generator
from tpn_engine.nets.presets import MeshColors, RenderingPreset
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.portrait.portrait import Surroundings
from tpn_engine.progress import SILENT, Progress
from tpn_engine.surface import HeadMesh, MeshOptions, Photo, extract_mesh
from tpn_engine.views import View, render_view
from tpn_engine.views.cameras import WHOLE_HEAD, Framing, around, cameras_along, one_by_one
from tpn_engine.views.pictures import SHOWN, checked_show, rgb_picture
from tpn_engine.views.superresolution import super_resolve
from tpn_engine.views.turntable import checked_turntable, write_turntable

_DECODER, _AROUND, _AROUND_PARTS = "decoder.", "surroundings.", ("picture", "matte", "shown")


@dataclass(frozen=True)
class Capture:
    """A head as a radiance field, with the camera and the crop it was made from.

    `codes` are the pivot's W+ latent codes [num_ws, w_dim]; `crop` [512, 512, 3] and `matte` [512, 512]
    are uint8; `camera` is the source camera; `provenance` is plain JSON: photo, model, method, versions,
    warnings and seconds. `iso_level`, `border`, `floor` and `colors` are the model's own for meshes; `matted`
    fields hold nothing but the person. `surroundings` is more of the photo, where it shows more. `landmarks` [468, 3]
    float32 are the face's in crop pixels, with their relative depth.
    """

    field: TriplaneField
    codes: Tensor
    camera: Camera
    rendering: RenderingPreset
    iso_level: float
    crop: np.ndarray
    matte: np.ndarray
    provenance: dict[str, Any]
    border: float = 0.0
    floor: float | None = None
    colors: MeshColors = "model"
    matted: bool = False
    surroundings: Surroundings | None = None
    landmarks: np.ndarray | None = None

    def to(self, device: torch.device | str) -> Capture:
        """The same capture with its field on another device."""
        own = replace(self.field, decoder=deepcopy(self.field.decoder))  # `to` moves a module itself
        return replace(self, field=own.to(device))

    def mesh(self, resolution: int = 256, *, progress: Progress = SILENT, **options: Any) -> HeadMesh:
        """The head mesh from a lattice of `resolution`^3; `options` are those of `MeshOptions`.

        Those left out, or None, are the model's own.
        """
        own: dict[str, Any] = {
            "level": self.iso_level,
            "border": self.border,
            "floor": self.floor,
            "colors": self.colors,
        }
        own |= {name: value for name, value in options.items() if value is not None}
        chosen = MeshOptions(resolution, **own)
        return extract_mesh(
            self.field, chosen, photo=self.photo, around=self.around, matted=self.matted, progress=progress
        )

    @property
    def photo(self) -> Photo:
        """The crop with its matte, camera and landmarks."""
        landmarks = None if self.landmarks is None else self.landmarks / len(self.crop)
        return Photo(_unit(self.crop), _unit(self.matte), self.camera, landmarks=landmarks)

    @property
    def around(self) -> Photo | None:
        """More of the photo with its matte and camera; None where it shows little more than the crop."""
        more = self.surroundings
        if more is None:
            return None
        camera = more.camera(self.camera)
        return Photo(_unit(more.picture), _unit(more.matte), camera, more.widths, more.shown)

    def render(
        self,
        yaw: float | None = None,
        pitch: float | None = None,
        size: int = 512,
        *,
        framing: Framing | None = None,
        show: str = "rgb",
        super_resolution: Model | None = None,
        progress: Progress = SILENT,
    ) -> Image.Image:
        """A picture over black: the source camera's, unless `yaw`, `pitch` (degrees) or `framing` is given.

        `show` is rgb, depth, normals or mask, as in `views.pictures`. `super_resolution` is the model that made
        the capture, where it has one: it gives rgb of its own size. Raises OptionError.
        """
        checked_show(show)
        seen_from_source = yaw is None and pitch is None and framing is None
        camera = self.camera if seen_from_source else around(yaw or 0.0, pitch or 0.0, framing or WHOLE_HEAD)
        if super_resolution is None:
            return SHOWN[show](self._view(camera, size, progress))
        if show != "rgb":
            raise OptionError("A super-resolution gives colours alone: show rgb, or leave it out.")
        generator = self._super_resolution(super_resolution, size)
        progress("view", 0.0)
        rgb = super_resolve(self.field, camera, generator, self.codes)
        progress("view", 1.0)
        return rgb_picture(rgb)

    def views(self, cameras: Sequence[Camera], size: int = 512, *, progress: Progress = SILENT) -> Iterator[View]:
        """What each of `cameras` sees, one after the other; reports as "views"."""
        for camera in one_by_one(cameras, "views", progress):
            yield self._view(camera, size, Progress(cancelled=progress.cancelled))

    @cached_property
    def _seen(self) -> TriplaneField:
        """The field within the outline of all that the photo shows of the person, not of the crop alone."""
        around, outline = self.around, self.field.silhouette
        if around is None or outline is None:
            return self.field
        return replace(self.field, silhouette=around.silhouette(outline.level, outline.label.device))

    def _view(self, camera: Camera, size: int, progress: Progress) -> View:
        return render_view(self._seen, camera, size, rendering=self.rendering, progress=progress)

    def turntable(
        self,
        path: str | os.PathLike[str],
        frames: int = 120,
        size: int = 512,
        *,
        pitch: float = 0.0,
        along: str = "ring",
        framing: Framing = WHOLE_HEAD,
        super_resolution: Model | None = None,
        progress: Progress = SILENT,
    ) -> None:
        """Write pictures from once around the head, the loop exact: .mp4, .webm, .gif, or a folder of .png.

        The cameras go `along` a ring or a spiral, see `views.cameras`. A video's `size` is even.
        `super_resolution` is as in `render`. Raises OptionError and FileError.
        """
        checked_turntable(path, size)
        cameras = cameras_along(along, frames, pitch, framing)
        generator = None if super_resolution is None else self._super_resolution(super_resolution, size)

        def pictures() -> Iterator[np.ndarray]:
            for camera in one_by_one(cameras, "turntable", progress):
                if generator is None:
                    yield self._view(camera, size, Progress(cancelled=progress.cancelled)).rgb
                else:
                    yield super_resolve(self.field, camera, generator, self.codes)

        write_turntable(path, pictures())

    def _super_resolution(self, model: Model, size: int) -> Generator:
        """The generator of the model that made this capture, if it has a super-resolution to `size` pixels."""
        made_by, preset = self.provenance["model"], model.preset.generator
        if model.sha256 != made_by["sha256"]:
            raise OptionError(f"Only {made_by['name']}, which made this head, can super-resolve it.")
        if preset.super_resolution is None:
            raise OptionError(f"{model.name} has no super-resolution: leave it out.")
        if size != preset.image_resolution:
            raise OptionError(
                f"The super-resolution of {model.name} makes pictures of {preset.image_resolution} pixels."
            )
        return model.network.decoder

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one .capture file; raises OptionError (suffix) or FileError."""
        tensors = {
            "planes": _array(self.field.planes),
            "codes": _array(self.codes),
            "label": self.camera.label,
            "crop": self.crop,
            "matte": self.matte,
        }
        if self.landmarks is not None:
            tensors["landmarks"] = self.landmarks
        if self.surroundings is not None:
            tensors |= {_AROUND + name: getattr(self.surroundings, name) for name in _AROUND_PARTS}
        for key, value in self.field.decoder.state_dict().items():
            tensors[_DECODER + key] = _array(value)
        facts = {
            "axes": self.field.axes,
            "box_warp": self.field.box.warp,
            "box_back": self.field.box.back,
            "rendering": asdict(self.rendering),
            "iso_level": self.iso_level,
            "border": self.border,
            "floor": self.floor,
            "colors": self.colors,
            "matted": self.matted,
            "silhouette": self.field.silhouette is not None,
            "surface": self.field.surface,
            "surroundings": self.surroundings and self.surroundings.widths,
            "provenance": self.provenance,
        }
        write_capture_file(path, tensors, facts)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Capture:
        """Read a .capture file, bit for bit what was saved; raises CaptureFileError."""
        tensors, facts = read_capture_file(path)
        try:
            return _assemble(tensors, facts).to(device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CaptureFileError(f"{path} does not hold a whole head: make it again.") from error


def _assemble(tensors: dict[str, np.ndarray], facts: dict[str, Any]) -> Capture:
    planes = torch.from_numpy(tensors["planes"])
    state = {
        key.removeprefix(_DECODER): torch.from_numpy(value)
        for key, value in tensors.items()
        if key.startswith(_DECODER)
    }
    decoder = Decoder(channels=planes.shape[1], hidden=state["net.0.weight"].shape[0])
    decoder.load_state_dict(state)
    decoder.requires_grad_(False).eval()
    box = Box(facts["box_warp"], facts.get("box_back", 0.0))
    field = TriplaneField(planes, decoder, facts["axes"], box, surface=facts.get("surface"))
    if facts.get("silhouette", False):
        label, matte = torch.from_numpy(tensors["label"]), tensors["matte"] / np.float32(255)
        field = replace(field, silhouette=Silhouette.of(matte, label, facts["iso_level"]))
    return Capture(
        field=field,
        codes=torch.from_numpy(tensors["codes"]),
        camera=Camera.from_label(tensors["label"]),
        rendering=RenderingPreset(**facts["rendering"]),
        iso_level=facts["iso_level"],
        crop=tensors["crop"],
        matte=tensors["matte"],
        provenance=facts["provenance"],
        border=facts.get("border", 0.0),  # old files have none of these
        floor=facts.get("floor"),
        colors=facts.get("colors", "model"),
        matted=facts.get("matted", False),
        surroundings=_surroundings(tensors, facts),
        landmarks=tensors.get("landmarks"),
    )


def _surroundings(tensors: dict[str, np.ndarray], facts: dict[str, Any]) -> Surroundings | None:
    widths = facts.get("surroundings")
    if widths is None:
        return None
    return Surroundings(*(tensors[_AROUND + name] for name in _AROUND_PARTS), widths=widths)


def _unit(picture: np.ndarray) -> np.ndarray:
    """uint8 to float32 in [0, 1]."""
    return picture.astype(np.float32) / 255


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
