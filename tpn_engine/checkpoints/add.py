"""From files the user has to an installed model: the authors' checkpoints, NVIDIA's pickles, our own, losses'."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tpn_engine.checkpoints.catalog import (
    DEFAULT_MODEL,
    GENERATOR_SOURCE,
    MODEL_NAME,
    NVIDIA_GENERATOR_SOURCE,
    TRIPLANENET_SOURCES,
    models_folder,
    official_name,
)
from tpn_engine.checkpoints.description import Description, description_path, read_description, to_json
from tpn_engine.checkpoints.disk import check_room
from tpn_engine.checkpoints.fit import LATENT_AVERAGE, expected_tensors, misfit, unfilled_network
from tpn_engine.checkpoints.load import file_sha256
from tpn_engine.checkpoints.loss_weights import LOSS_WEIGHTS, LossPart
from tpn_engine.checkpoints.official import GENERATOR, Found, recognised
from tpn_engine.checkpoints.perceptual import checked, loaded, loss_part_in, store
from tpn_engine.checkpoints.pickles import RefusedError
from tpn_engine.checkpoints.terms import EG3D, Terms
from tpn_engine.checkpoints.torch_files import StoredTensor, opened
from tpn_engine.checkpoints.write import Loadable, write_model
from tpn_engine.errors import ModelError
from tpn_engine.files import replacing
from tpn_engine.nets.presets import GeneratorPreset, Preset, ffhq512_128
from tpn_engine.nets.triplanenet import TriPlaneNet
from tpn_engine.progress import Progress

PresetOf = Callable[[Literal[1, 2], bool], Preset]

GENERATOR_PART = "eg3d-ffhq512-128"
"""The generator's name while it waits, without encoders, for a TriPlaneNet."""

_HEADS: dict[str, Literal[1, 2]] = {"final_head": 1, "final_head_two": 2}
_COMPARED = ("backbone.mapping.fc0.weight", "backbone.synthesis.b4.const", "decoder.net.0.weight")
_SAME_GENERATOR = 0.1  # relative difference: other generators are above 1, rounding is below 0.001
_PIVOT_OF_FACES = [0, 0, 0.2]


@dataclass(frozen=True)
class Addition:
    """What adding some files would install, checked already.

    `terms` are those the user must accept first. `write(progress)` installs it and returns its path;
    it raises ModelError, FileError and CancelledError, and then leaves nothing. `lacks` says what else must
    be added before it is of use, if anything.
    """

    name: str
    terms: Terms | None
    write: Callable[[Progress], Path]
    lacks: Callable[[], str | None] = lambda: None


@contextmanager
def addition(files: Sequence[Path], *, preset_of: PresetOf | None = None) -> Iterator[Addition]:
    """What adding these files together would install; it can be written until the block ends.

    Nothing in the files is run, and nothing is written before `write`. `preset_of(version, pixel_shuffle)`
    is what TriPlaneNet's and EG3D's own files must fit, by default `ffhq512_128`. Raises ModelError.
    """
    preset_of = preset_of or ffhq512_128
    own = [file for file in files if file.suffix == ".safetensors"]
    if own and len(files) > 1:
        raise ModelError("A .safetensors is a whole model: add it alone.")
    if own:
        yield _own_model(own[0])
        return
    found: dict[str, _Given] = {}
    with ExitStack() as stack:
        values = [(file, _value_in(file, stack)) for file in files]
        parts = [loss_part_in(value) for _, value in values]
        if any(parts):
            yield _loss_weights(values, parts)
            return
        for file, value in values:
            with _about(file):
                given = _Given(file, recognised(value))
            if given.found.kind in found:
                raise ModelError(
                    f"{file.name} and {found[given.found.kind].file.name} are of one kind: add one of them."
                )
            found[given.found.kind] = given
        generator = found.get("generator")
        if generator is not None:
            with _about(generator.file):
                _check_generator(generator.found, preset_of(2, False))
        if "triplanenet" in found:
            yield _triplanenet(found["triplanenet"], generator, preset_of)
        elif generator is not None:
            yield _generator_part(generator, preset_of(2, False))
        else:
            raise ModelError("Give the files to add.")


@dataclass(frozen=True)
class _Given:
    """A file of the user's and what is in it."""

    file: Path
    found: Found


@dataclass(frozen=True)
class _Loaded:
    """A tensor in memory as one that can be loaded."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    def load(self) -> Tensor:
        return self.tensor


def _value_in(file: Path, stack: ExitStack) -> Any:
    """What a file holds, whose tensors can be loaded until the stack is closed."""
    with _about(file):
        try:
            return stack.enter_context(opened(file))
        except OSError as error:
            raise RefusedError(f"can't be read ({error.strerror or type(error).__name__})") from error


@contextmanager
def _about(file: Path) -> Iterator[None]:
    """Refusals become ModelErrors that name the file."""
    try:
        yield
    except RefusedError as error:
        raise ModelError(f"{file} {error}.") from error


# ---- TriPlaneNet ---------------------------------------------------------------------------------


def _triplanenet(given: _Given, generator: _Given | None, preset_of: PresetOf) -> Addition:
    with _about(given.file):
        preset = _preset(given.found, preset_of)
        expected = expected_tensors(unfilled_network(preset))
        average_shape = expected.pop(LATENT_AVERAGE).shape
        if (wrong := misfit(expected, given.found.tensors)) is not None:
            raise RefusedError(wrong)
    average = _latent_average(given, generator, preset)
    if average.shape != average_shape:
        raise ModelError(f"latent_avg is {tuple(average.shape)} instead of {tuple(average_shape)}.")
    name = official_name(preset.refiner.version)
    path = models_folder() / f"{name}.safetensors"
    _check_free(path)
    files = [given.file] if generator is None else [given.file, generator.file]
    tensors: dict[str, Loadable] = {**given.found.tensors, LATENT_AVERAGE: _Loaded(average)}
    return _conversion(given.file, files, path, tensors, preset)


def _preset(found: Found, preset_of: PresetOf) -> Preset:
    """Version and kind of upsampling, read from the weights: the width of the head's input tells the latter."""
    for head, version in _HEADS.items():
        key = f"triplanenet_encoder.{head}.0.weight"
        if key not in found.tensors:
            continue
        widths = {}
        for pixel_shuffle in (True, False):
            preset = preset_of(version, pixel_shuffle)
            widths.setdefault(_head_width(preset), preset)
        shape = found.tensors[key].shape
        if len(shape) == 4 and shape[1] in widths:
            return widths[shape[1]]
        known = " or ".join(map(str, widths))
        raise RefusedError(f"does not fit any preset: {key} is {shape}, its second number must be {known}")
    raise RefusedError("does not fit any preset: its refinement has no final_head and no final_head_two")


def _head_width(preset: Preset) -> int:
    """Input channels of the refinement's head."""
    width = preset.refiner.body.channels[1]
    features = 3 * width // 8 if preset.refiner.pixel_shuffle else width
    return features + (3 * preset.generator.plane_channels if preset.refiner.version == 2 else 0)


def _latent_average(given: _Given, generator: _Given | None, preset: Preset) -> Tensor:
    """From the checkpoint itself, the generator given with it, or what is installed with the same generator."""
    weights = given.found.tensors
    if given.found.latent_average is not None:
        with _about(given.file):
            return _loaded_average(given.found.latent_average)
    if generator is not None:
        with _about(generator.file):
            if not _same_generator(weights, generator.found.tensors):
                raise RefusedError(f"is another generator than the one in {given.file.name}")
            if generator.found.latent_average is not None:
                return _loaded_average(generator.found.latent_average)
    for path in stored_averages():
        with safe_open(path, "pt") as stored:
            kept = {key: _Loaded(stored.get_tensor(key)) for key in map(GENERATOR.__add__, _COMPARED)}
            if _same_generator(weights, kept):
                return stored.get_tensor(LATENT_AVERAGE)
    missing = "It is in neither of these files" if generator else f"It is not in {given.file.name}"
    raise ModelError(
        f"latent_avg is missing. {missing}, but in the authors' {GENERATOR_SOURCE.file}: "
        f"get that from {GENERATOR_SOURCE.page} and add both together."
    )


def _loaded_average(average: StoredTensor) -> Tensor:
    """[w_dim], also where it was kept as [1, w_dim]; raises RefusedError where its numbers are none."""
    loaded = average.load()
    if not loaded.is_floating_point() or not loaded.isfinite().all():
        raise RefusedError(f"is damaged: {LATENT_AVERAGE} holds values that are no numbers")
    return loaded[0] if loaded.ndim == 2 and len(loaded) == 1 else loaded


def stored_averages() -> list[Path]:
    """Installed files that hold an average code of the authors' generator, the smallest first."""
    names = [official_name(version) for version in TRIPLANENET_SOURCES]
    paths = [part_path(), *(models_folder() / f"{name}.safetensors" for name in names)]
    holding = []
    for path in paths:
        try:
            with safe_open(path, "pt") as stored:
                if {LATENT_AVERAGE, *map(GENERATOR.__add__, _COMPARED)} <= set(stored.keys()):
                    holding.append(path)
        except (OSError, SafetensorError):
            continue  # not installed, or damaged: `verify` says so
    return holding


def _same_generator(one: Mapping[str, Loadable], other: Mapping[str, Loadable]) -> bool:
    for key in map(GENERATOR.__add__, _COMPARED):
        a, b = one[key].load().double(), other[key].load().double()
        if a.shape != b.shape or (a - b).norm() > _SAME_GENERATOR * b.norm():
            return False
    return True


# ---- EG3D ----------------------------------------------------------------------------------------


def _generator_part(given: _Given, preset: Preset) -> Addition:
    tensors: dict[str, Loadable] = {**given.found.tensors}
    with _about(given.file):
        if given.found.latent_average is not None:
            tensors[LATENT_AVERAGE] = _Loaded(_loaded_average(given.found.latent_average))
        elif part_path() in stored_averages():
            raise RefusedError("adds nothing: the generator is here already, with its latent_avg")
    return _conversion(given.file, [given.file], part_path(), tensors, preset)


def part_path() -> Path:
    """Where the generator waits."""
    return models_folder() / "parts" / f"{GENERATOR_PART}.safetensors"


def _check_generator(found: Found, preset: Preset) -> None:
    """Keys, shapes, and what it was built with: generators of cats or other sizes have the same shapes."""
    expected = expected_tensors(unfilled_network(preset))
    average = expected.pop(LATENT_AVERAGE)
    expected = {key: tensor for key, tensor in expected.items() if key.startswith(GENERATOR)}
    if (wrong := misfit(expected, found.tensors)) is not None:
        raise RefusedError(wrong)
    if found.latent_average is not None and _loaded_average(found.latent_average).shape != average.shape:
        given = found.latent_average.shape
        raise RefusedError(f"does not fit its preset: {LATENT_AVERAGE} is {given} instead of {tuple(average.shape)}")
    for name, told, wanted in _told(found, preset.generator):
        if told is not None and told != wanted:
            shown = str(told)[:40] if isinstance(told, (int, float, str)) else "something else"
            raise RefusedError(f"is another generator than {preset.name}: its {name} is {shown} instead of {wanted}")


def _told(found: Found, preset: GeneratorPreset) -> Iterator[tuple[str, object, object]]:
    """What the file says it was built with beside what the preset says; None where it says nothing."""
    rendering = found.settings.get("rendering_kwargs")
    rendering = rendering if isinstance(rendering, dict) else {}
    module = rendering.get("superresolution_module")
    kind = preset.super_resolution.kind if preset.super_resolution else ""
    yield "image size", found.settings.get("img_resolution"), preset.image_resolution
    yield "box_warp", rendering.get("box_warp"), preset.box_warp
    yield "ray_start", rendering.get("ray_start"), preset.rendering.ray_start
    yield "ray_end", rendering.get("ray_end"), preset.rendering.ray_end
    yield "white background", rendering.get("white_back"), preset.rendering.white_background
    yield "camera pivot", rendering.get("avg_camera_pivot"), _PIVOT_OF_FACES
    if isinstance(module, str):
        yield "super-resolution", module.rpartition("SuperresolutionHybrid")[2].lower(), kind
    yield "rendering size", found.render_resolution, preset.render_resolution


def _conversion(file: Path, files: list[Path], path: Path, tensors: Mapping[str, Loadable], preset: Preset) -> Addition:
    def write(progress: Progress) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        origin = "converted from " + " and ".join(_provenance(file) for file in files)
        with _about(file):
            write_model(
                path, tensors, name=path.stem, preset=preset, licence=EG3D.name, origin=origin, progress=progress
            )
        return path

    return Addition(path.stem, EG3D, write)


def _provenance(file: Path) -> str:
    sha256 = file_sha256(file)
    published = ", as NVIDIA publishes it" if sha256 == NVIDIA_GENERATOR_SOURCE.sha256 else ""
    return f"{file.name} (SHA-256 {sha256}{published})"


# ---- weights of losses ---------------------------------------------------------------------------


def _loss_weights(values: Sequence[tuple[Path, Any]], parts: Sequence[LossPart | None]) -> Addition:
    """One or more files of LPIPS and ArcFace, in any order, also one after the other."""
    given: dict[LossPart, tuple[Path, dict[str, StoredTensor]]] = {}
    for (file, value), part in zip(values, parts, strict=True):
        if part is None:
            raise ModelError(f"{file} does not hold the weights of a loss: add it apart from those that do.")
        if part in given:
            raise ModelError(f"{file.name} and {given[part][0].name} are of one kind: add one of them.")
        with _about(file):
            given[part] = file, checked(part, value)
    losses = [weights for weights in LOSS_WEIGHTS.values() if any(part in given for part in weights.parts)]
    for weights in losses:
        here = [part.file for part in weights.parts if part in given and part.present]
        if here:
            raise ModelError(f"{weights.name} has {here[0]} already: `tpn models remove {weights.name}` first.")

    def write(progress: Progress) -> Path:
        converted = []
        for index, (part, (file, tensors)) in enumerate(given.items()):
            progress("convert", index / len(given))
            with _about(file):
                converted.append(loaded(part, tensors, _provenance(file)))
        store(converted)
        progress("convert", 1.0)
        return converted[0].part.path.parent

    def lacks() -> str | None:
        missing = [f"{weights.name} is {weights.state}" for weights in losses if not weights.present]
        return "; ".join(missing) or None

    return Addition(" and ".join(weights.name for weights in losses), None, write, lacks)


# ---- our own files -------------------------------------------------------------------------------


def verified(path: Path) -> Description:
    """The description of a model's file, whose hash, keys, shapes and numbers were checked; raises ModelError."""
    description = read_description(description_path(path))
    try:
        if file_sha256(path) != description.sha256:
            raise ModelError(f"{path} is damaged or was changed: its SHA-256 differs. Get the model again.")
        with safe_open(path, "pt") as stored:
            found = {key: _Loaded(stored.get_tensor(key)) for key in sorted(stored.keys())}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} can't be read: get the model again.") from error
    with torch.device("meta"):  # the preset is whatever the description says: it gets no memory before it fits
        network = TriPlaneNet(description.preset)
    if (wrong := misfit(expected_tensors(network), found)) is not None:
        raise ModelError(f"{path} {wrong}.")
    for key, stored in found.items():
        if stored.dtype.is_floating_point and not stored.tensor.isfinite().all():
            raise ModelError(f"{path} is damaged: {key} holds values that are no numbers.")
    return description


def _own_model(file: Path) -> Addition:
    if not file.is_file():
        raise ModelError(f"There is no model file {file}.")
    description = verified(file)
    name = description.name
    if not MODEL_NAME.fullmatch(name) or name == DEFAULT_MODEL or name in LOSS_WEIGHTS:
        raise ModelError(f"{file} calls itself {name[:60]!r}, which can't be a model's name here.")
    path = models_folder() / f"{name}.safetensors"

    _check_free(path)

    def write(progress: Progress) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_room(path.parent, file.stat().st_size)
        with replacing(description_path(path)) as described, replacing(path) as unfinished:
            if _copied(file, unfinished, progress) != description.sha256:
                raise ModelError(f"{file} changed while it was read: add it again.")
            described.write_text(to_json(description), encoding="utf-8")
        return path

    return Addition(name, EG3D if description.licence == EG3D.name else None, write)


def _copied(file: Path, target: Path, progress: Progress) -> str:
    """Copy a file; the SHA-256 of what was copied."""
    digest, size = hashlib.sha256(), file.stat().st_size
    with file.open("rb") as source, target.open("wb") as copy:
        while block := source.read(2**22):
            copy.write(block)
            digest.update(block)
            progress("copy", copy.tell() / max(size, copy.tell()))
    return digest.hexdigest()


def _check_free(path: Path) -> None:
    if path.exists():
        raise ModelError(f"The model {path.stem} is here already: remove it first.")
