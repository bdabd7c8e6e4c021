"""The command line. Only what every command needs is imported here: torch takes seconds."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from tpn_engine.cli_models import models
from tpn_engine.console import QuietOption, shown
from tpn_engine.errors import FileError, HeadCaptureError, OptionError
from tpn_engine.files import checked_output, replacing
from tpn_engine.inversion.options import (
    DEFAULT_METHOD,
    METHODS,
    Method,
    make_options,
    method_named,
    option_names,
)
from tpn_engine.progress import Progress
from tpn_engine.version import __version__

if TYPE_CHECKING:
    from tpn_engine.capture import Capture
    from tpn_engine.checkpoints import Model
    from tpn_engine.views.cameras import Framing

MESH_SUFFIXES = (".glb", ".obj", ".ply", ".stl", ".npz")
CAPTURE_SUFFIX = ".capture"
PICTURE_SUFFIXES = (".png", ".jpg")


class _Commands(TyperGroup):
    """Every failure is one line on standard error: exit code 2 for a bad option, 1 for the rest."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if hasattr(error, "exit_code") or isinstance(error, typer.Abort):
                raise  # Typer's own ways to end
            if ctx.params.get("debug"):
                traceback.print_exc()
            _complain(_sentence(error))
            raise typer.Exit(2 if isinstance(error, OptionError) else 1) from error


app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(models, name="models")

PhotoArgument = Annotated[Path, typer.Argument(metavar="PHOTO", help="A photo with a face.", show_default=False)]
PhotosArgument = Annotated[
    list[Path], typer.Argument(metavar="PHOTO...", help="Photos with a face.", show_default=False)
]
CaptureArgument = Annotated[Path, typer.Argument(metavar="X.capture", help="A capture.", show_default=False)]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The file to write.", show_default=False)]
ModelOption = Annotated[str, typer.Option(help="A model's name, or the path of its .safetensors.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
ResolutionOption = Annotated[int, typer.Option(min=16, max=1024, help="Lattice points along each edge.")]
ColorsOption = Annotated[
    str | None,
    typer.Option(help="Of the mesh: photo, or model for the model's alone.", show_default="the model's choice"),
]
FloorOption = Annotated[
    float | None,
    typer.Option(help="Height at which the neck is cut, EG3D units; the model's by default.", show_default=False),
]
BorderOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, max=0.2, help="Part of the lattice left out at each side.", show_default="the model's choice"
    ),
]
FaceOption = Annotated[int | None, typer.Option(min=0, help="Which face, 0 is the largest.", show_default=False)]
LevelOption = Annotated[bool, typer.Option("--level", help="Turn a tilted head upright first.")]
MethodOption = Annotated[Method, typer.Option(help="How the head is found.")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An option of the method, such as steps=50.", show_default=False),
]
SeedOption = Annotated[int, typer.Option(help="Seed of everything random.")]
SizeOption = Annotated[int, typer.Option(min=16, max=4096, help="Pixels along each edge.")]
RadiusOption = Annotated[
    float | None, typer.Option(help="EG3D units from what the camera looks at.", show_default="2.7")
]
FovOption = Annotated[
    float | None, typer.Option(help="Degrees that the picture's diagonal sees.", show_default="the whole head")
]
LookAtOption = Annotated[
    str | None,
    typer.Option(metavar="X,Y,Z", help="What the camera looks at, EG3D units.", show_default="the head's middle"),
]
SuperResolutionOption = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Use the super-resolution of the model that made it.", show_default=False),
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tpn {__version__}")
        raise typer.Exit


@app.callback()
def tpn(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One portrait photo in, a coloured 3D head out."""


@app.command()
def align(
    photo: PhotoArgument,
    output: OutputOption,
    label: Annotated[
        Path | None, typer.Option(help="Also write the camera label, as JSON.", show_default=False)
    ] = None,
    face: FaceOption = None,
    level: LevelOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the aligned crop of a photo and its camera label."""
    checked_output(output, PICTURE_SUFFIXES)
    if label is not None:
        checked_output(label, (".json",))
    from PIL import Image

    from tpn_engine.portrait import PortraitReader

    with shown(quiet) as progress:
        portrait = PortraitReader().read(photo, face=face, level=level, progress=progress)
    crop = Image.fromarray((portrait.crop * 255 + 0.5).astype("uint8"), "RGB")
    if label is not None:  # in the form of EG3D's dataset.json
        numbers = [float(number) for number in portrait.camera.label]
        with replacing(label) as unfinished:
            unfinished.write_text(json.dumps({"labels": [[output.name, numbers]]}) + "\n", encoding="utf-8")
    with replacing(output) as unfinished:
        crop.save(unfinished)
    if not quiet:
        _warn(photo, [warning.message for warning in portrait.warnings])
        typer.echo(f"{output}: the aligned crop of {photo.name}")


@app.command()
def capture(
    photos: PhotosArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help=f"One photo: a file ({' '.join(MESH_SUFFIXES)} {CAPTURE_SUFFIX}). Several: a folder.",
            show_default=False,
        ),
    ],
    kind: Annotated[str, typer.Option("--format", help="What to write into a folder: glb, capture, ...")] = "glb",
    model: ModelOption = "synthetic-heads",
    method: MethodOption = DEFAULT_METHOD,
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    resolution: ResolutionOption = 256,
    colors: ColorsOption = None,
    border: BorderOption = None,
    floor: FloorOption = None,
    face: FaceOption = None,
    level: LevelOption = False,
    seed: SeedOption = 0,
    quiet: QuietOption = False,
) -> None:
    """Make a 3D head of each photo."""
    jobs = _plan(photos, output, "." + kind.lower().lstrip("."))
    options = _settings(method, settings or [], seed)
    from tpn_engine.engine import Engine

    _seed(seed)
    engine = Engine.load(model, device)
    failed = 0
    for photo, target in jobs:
        try:
            with shown(quiet) as progress:
                made = engine.capture(
                    photo,
                    face=face,
                    level=level,
                    method=method,
                    progress=progress.report,
                    cancel=progress.cancelled,
                    **options,
                )
                _write(made, target, progress, resolution=resolution, colors=colors, border=border, floor=floor)
        except HeadCaptureError as error:
            if len(jobs) == 1:
                raise
            _complain(f"{photo}: {_sentence(error)}")
            failed += 1
            continue
        if not quiet:
            _warn(photo, [warning["message"] for warning in made.provenance["warnings"]])
            for stage, fit in made.provenance.get("fits", {}).items():
                losses = f"loss {fit['first_loss']:.4f} to {fit['last_loss']:.4f}"
                typer.echo(f"{stage}: {fit['steps']} steps, {losses}{' (out of time)' if fit['cut_short'] else ''}")
            typer.echo(f"{target}: the head from {photo.name}")
    if failed:
        raise typer.Exit(1)


@app.command()
def mesh(
    source: CaptureArgument,
    output: OutputOption,
    resolution: ResolutionOption = 256,
    iso_level: Annotated[
        float | None, typer.Option(help="Density of the surface; the model's by default.", show_default=False)
    ] = None,
    triangles: Annotated[
        int | None, typer.Option(min=100, help="Reduce to at most so many triangles.", show_default=False)
    ] = None,
    smooth: Annotated[int, typer.Option(min=0, max=1000, help="Iterations of smoothing.")] = 0,
    solid: Annotated[bool, typer.Option("--solid", help="Close every hole, for printing.")] = False,
    colors: ColorsOption = None,
    border: BorderOption = None,
    floor: FloorOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Write the head mesh of a capture."""
    checked_output(output, MESH_SUFFIXES)
    made = _open(source, device)
    with shown(quiet) as progress:
        head = made.mesh(
            resolution,
            level=iso_level,
            triangles=triangles,
            smooth=smooth,
            solid=solid,
            colors=colors,
            border=border,
            floor=floor,
            progress=progress,
        )
        head.save(output)
    if not quiet:
        typer.echo(f"{output}: the head from {source.name}")


@app.command()
def render(
    source: CaptureArgument,
    output: OutputOption,
    yaw: Annotated[float | None, typer.Option(help="Degrees toward the subject's left.", show_default=False)] = None,
    pitch: Annotated[float | None, typer.Option(help="Degrees up.", show_default=False)] = None,
    radius: RadiusOption = None,
    fov: FovOption = None,
    look_at: LookAtOption = None,
    show: Annotated[
        str, typer.Option(help="rgb, normals, mask, or depth: 16-bit .png, 10000 steps an EG3D unit.")
    ] = "rgb",
    size: SizeOption = 512,
    super_resolution: SuperResolutionOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Write a picture of a capture: from the photo's own camera, or from the one described."""
    checked_output(output, PICTURE_SUFFIXES if show != "depth" else (".png",))
    described = any(option is not None for option in (radius, fov, look_at))
    framing = _framing(radius, fov, look_at) if described else None
    made = _open(source, device)
    model = _model(super_resolution, device)
    with shown(quiet) as progress:
        picture = made.render(yaw, pitch, size, framing=framing, show=show, super_resolution=model, progress=progress)
    with replacing(output) as unfinished:
        picture.save(unfinished)
    if not quiet:
        typer.echo(f"{output}: a view of {source.name}")


@app.command()
def turntable(
    source: CaptureArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A .mp4, .webm or .gif; without a suffix, a folder of .png.", show_default=False
        ),
    ],
    frames: Annotated[int, typer.Option(min=1, max=10000, help="Frames of one turn.")] = 120,
    size: SizeOption = 512,
    pitch: Annotated[float, typer.Option(help="Degrees up.")] = 0.0,
    path: Annotated[str, typer.Option(help="ring, or spiral: up and down by 20 degrees on the way.")] = "ring",
    radius: RadiusOption = None,
    fov: FovOption = None,
    look_at: LookAtOption = None,
    super_resolution: SuperResolutionOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Write a video that goes once around a capture."""
    from tpn_engine.views.turntable import checked_turntable

    checked_turntable(output, size)
    framing = _framing(radius, fov, look_at)
    made = _open(source, device)
    model = _model(super_resolution, device)
    with shown(quiet) as progress:
        made.turntable(
            output,
            frames,
            size,
            pitch=pitch,
            along=path,
            framing=framing,
            super_resolution=model,
            progress=progress,
        )
    if not quiet:
        typer.echo(f"{output}: {frames} frames around {source.name}")


@app.command()
def evaluate(
    dataset: Annotated[Path, typer.Argument(metavar="HEADS", help="A folder of head_*.npz.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the report.", show_default=False)],
    heads: Annotated[int, typer.Option(min=1, help="At most so many heads.")] = 200,
    held_out_every: Annotated[
        int, typer.Option(min=1, help="Measure each so manieth head: those that training left out.")
    ] = 50,
    methods: Annotated[
        str, typer.Option(help=f"The methods to compare, with commas: {', '.join(METHODS)}.")
    ] = "psp,triplanenet",
    model: ModelOption = "synthetic-heads",
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Compare methods of inversion on synthetic heads that the model has never seen."""
    chosen: list[Method] = [method_named(name.strip()) for name in methods.split(",")]
    from tpn_engine.checkpoints import load_model
    from tpn_engine.devices import choose_device
    from tpn_engine.training import evaluate as evaluation

    files = evaluation.held_out_heads(dataset, held_out_every)[:heads]
    with shown(quiet) as progress:
        report = evaluation.evaluate(load_model(model, choose_device(device)), files, chosen, progress=progress)
    evaluation.write_report(report, output)
    if not quiet:
        typer.echo(report.markdown())


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def serve(context: typer.Context) -> None:
    """Serve captures to programs on this machine."""
    from server.__main__ import app as service

    service(args=context.args, prog_name="tpn serve")


@app.command()
def doctor() -> None:
    """Say in sentences what is wrong, then what is there."""
    from tpn_engine.doctor import examine

    findings = examine()
    for finding in sorted(findings, key=lambda finding: finding.fine):
        typer.echo(finding.sentence if finding.fine else f"Problem: {finding.sentence}")
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)


def main() -> None:
    """The console script `tpn`."""
    # Threads that spin while they wait make this six times slower as soon as another program computes.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    app()


def _plan(photos: list[Path], output: Path, suffix: str) -> list[tuple[Path, Path]]:
    """Which file each photo's head goes to; the folder itself is made for the first one."""
    suffixes = (*MESH_SUFFIXES, CAPTURE_SUFFIX)
    if len(photos) == 1 and not output.is_dir():
        return [(photos[0], checked_output(output, suffixes))]
    if output.suffix.lower() in suffixes and not output.is_dir():
        raise OptionError(f"{len(photos)} photos need a folder, not {output.name}: give --format for their kind.")
    if suffix not in suffixes:
        raise OptionError(f"The format must be one of {', '.join(name[1:] for name in suffixes)}.")
    if not output.parent.is_dir():
        raise FileError(f"There is no folder {output.parent}: make it first or choose another one.")
    jobs: list[tuple[Path, Path]] = []
    taken: set[str] = set()
    for photo in photos:
        name, number = photo.stem, 2
        while name.lower() in taken:
            name, number = f"{photo.stem}-{number}", number + 1
        taken.add(name.lower())
        jobs.append((photo, output / (name + suffix)))
    return jobs


def _open(source: Path, device: str) -> Capture:
    from tpn_engine.capture import Capture
    from tpn_engine.devices import choose_device

    return Capture.load(source, choose_device(device))


def _framing(radius: float | None, fov: float | None, look_at: str | None) -> Framing:
    """What was typed of it, the rest as it is by default."""
    from tpn_engine.views.cameras import WHOLE_HEAD, Framing

    try:
        x, y, z = map(float, look_at.split(",")) if look_at is not None else WHOLE_HEAD.look_at
    except ValueError:
        raise OptionError(f"--look-at {look_at} is not a point: write it as X,Y,Z.") from None
    return Framing(WHOLE_HEAD.radius if radius is None else radius, fov, (x, y, z))


def _model(name: str | None, device: str) -> Model | None:
    if name is None:
        return None
    from tpn_engine.checkpoints import load_model
    from tpn_engine.devices import choose_device

    return load_model(name, choose_device(device))


def _write(made: Capture, target: Path, progress: Progress, **options: Any) -> None:
    kept = made if target.suffix.lower() == CAPTURE_SUFFIX else made.mesh(progress=progress, **options)
    target.parent.mkdir(exist_ok=True)
    kept.save(target)


def _settings(method: Method, settings: list[str], seed: int) -> dict[str, Any]:
    """The method's options as they were typed, with the seed if it takes one."""
    options: dict[str, Any] = {"seed": seed} if "seed" in option_names(method) else {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise OptionError(f"--set {setting} has no value: write it as {name}=VALUE.")
        options[name] = value
    make_options(method, options)  # refuses what is wrong before anything takes long
    return options


def _seed(seed: int) -> None:
    import torch

    torch.manual_seed(seed)


def _warn(photo: Path, messages: list[str]) -> None:
    for message in messages:
        typer.echo(f"Warning: {photo}: {message}", err=True)


def _complain(sentence: str) -> None:
    typer.echo(f"tpn: {sentence}", err=True)


def _sentence(error: Exception) -> str:
    """One line for any failure."""
    text = " ".join(str(error).split())
    if isinstance(error, HeadCaptureError):
        return text
    return f"Unexpected {type(error).__name__}: {text} Run `tpn --debug ...` to see where, and report it."
