"""How well a model inverts heads that it has never seen: tables and pictures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tpn_engine.camera import Camera
from tpn_engine.checkpoints import Model
from tpn_engine.errors import FileError
from tpn_engine.files import replacing
from tpn_engine.inversion.fitting import Observer
from tpn_engine.inversion.invert import INVERTERS
from tpn_engine.inversion.options import Method, make_options
from tpn_engine.inversion.subject import Subject
from tpn_engine.nets.field import TriplaneField
from tpn_engine.portrait.landmark_error import landmark_error
from tpn_engine.portrait.landmarks import FaceLandmarker
from tpn_engine.progress import SILENT, Progress
from tpn_engine.training.balance import balance, balance_table
from tpn_engine.training.data import HeadViews, head_files
from tpn_engine.training.measures import ViewMeasures, compare_views, mean_measures
from tpn_engine.training.perception import Perception
from tpn_engine.training.person import Person
from tpn_engine.training.pictures import PixelView
from tpn_engine.views import render_view

# Novel views are grouped by the angle in degrees between their direction and the source's.
GROUPS = {
    "source": (0.0, 0.0),
    "±30": (15.0, 45.0),
    "±60": (45.0, 75.0),
    "side": (75.0, 110.0),
    "behind": (110.0, 360.0),
}
COLUMNS = {  # of the table: each measure's heading and how its numbers are written
    "mse": ("MSE", ".4f"),
    "psnr": ("PSNR dB", ".2f"),
    "ssim": ("SSIM", ".3f"),
    "ms_ssim": ("MS-SSIM", ".3f"),
    "iou": ("silhouette IoU", ".3f"),
    "depth": ("depth error % of head height", ".2f"),
    "normal": ("normal error °", ".1f"),
    "landmarks": ("landmark error % of eye distance", ".1f"),
    "lpips": ("LPIPS", ".3f"),
    "identity": ("identity similarity", ".3f"),
}
_OPTIONAL = ("lpips", "identity")  # no column for them where the weights that measure them aren't present
METHODS: tuple[Method, ...] = ("psp", "triplanenet")


@dataclass(frozen=True)
class Report:
    """Means per method and group of views, the seconds per head, and a picture of some heads.

    `balance` has each method's means over groups of people at the source view; nothing for heads whose files
    don't say whose they are.
    """

    heads: int
    measures: dict[str, dict[str, dict[str, float]]]
    seconds: dict[str, float]
    balance: dict[str, dict[str, dict[str, float]]]
    sheet: Image.Image

    def markdown(self) -> str:
        """The tables as Markdown."""
        known = {name for groups in self.measures.values() for means in groups.values() for name in means}
        columns = {name: column for name, column in COLUMNS.items() if name in known or name not in _OPTIONAL}
        headings = ["method", "view", *(heading for heading, _ in columns.values()), "seconds a head"]
        rows = [
            [
                method,
                group,
                *(format(means[name], form) if name in means else "-" for name, (_, form) in columns.items()),
                f"{self.seconds[method]:.1f}",
            ]
            for method, groups in self.measures.items()
            for group, means in groups.items()
        ]
        lines = [headings, ["---"] * len(headings), *rows]
        tables = ["\n".join(f"| {' | '.join(cells)} |" for cells in lines)]
        tables += [
            f"{method}, source view, by group:\n\n{balance_table(groups)}" for method, groups in self.balance.items()
        ]
        return "\n\n".join(tables)

    def json(self) -> str:
        """The same as JSON."""
        return json.dumps(
            {"heads": self.heads, "measures": self.measures, "seconds": self.seconds, "balance": self.balance}, indent=2
        )


def group_of(source: Camera, other: Camera) -> str | None:
    """Which group a view belongs to; None in front, where it is hardly another view."""
    directions = [camera.position / np.linalg.norm(camera.position) for camera in (source, other)]
    angle = float(np.degrees(np.arccos(np.clip(directions[0] @ directions[1], -1, 1))))
    for name, (low, high) in GROUPS.items():
        if name != "source" and low <= angle < high:
            return name
    return None


def held_out_heads(folder: Path, every: int) -> list[Path]:
    """The heads that training left out; raises FileError where there are none."""
    held_out = head_files(folder, every)[1]
    if not held_out:
        raise FileError(
            f"No head in {folder} was held out: render some whose seed is {every - 1} modulo {every}, or give "
            "--held-out-every 1 to measure all of them."
        )
    return held_out


def evaluate(
    model: Model,
    files: Sequence[Path],
    methods: Sequence[Method] = METHODS,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    sheet_heads: int = 8,
    progress: Progress = SILENT,
) -> Report:
    """Invert each of one or more heads from its most frontal view by each method; compare all views with the truth.

    `options` are those of methods whose defaults aren't wanted. The source view is seen by the camera that the
    method gives its capture, all others by the true ones.
    """
    chosen = {method: make_options(method, (options or {}).get(method, {})) for method in methods}
    collected: dict[str, dict[str, list[ViewMeasures]]] = {method: {} for method in methods}
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    rows: list[np.ndarray] = []
    landmarker = FaceLandmarker(torch.device("cpu"))
    perception = Perception.present(model.preset.face)
    for index, path in enumerate(files):
        head = HeadViews.load(path)
        source = int(np.argmin(np.abs(head.yaws())))
        views = [head.view(number) for number in range(len(head.cameras))]
        compared = {number: group_of(views[source].camera, view.camera) for number, view in enumerate(views)}
        compared[source] = "source"
        row = [[view.on_black() for number, view in enumerate(views) if compared[number] is not None]]
        for turn, method in enumerate(methods):
            progress("evaluate", (index + turn / len(methods)) / len(files))
            started = time.perf_counter()
            made = INVERTERS[method](model, rendered_subject(model, views[source]), chosen[method], _within(progress))
            head = made.head(model.preset, views[source].alpha)
            seconds[method].append(time.perf_counter() - started)
            pictures = []
            for number, group in compared.items():
                if group is None:
                    continue
                camera = Camera.from_label(made.label.cpu().numpy()) if number == source else views[number].camera
                measures, picture = _compare(model, head, camera, views[number])
                if number == source:
                    face = landmark_error(landmarker, picture, views[source].on_black(), camera, model.preset.face)
                    measures = replace(measures, landmarks=face)
                truth = views[number].on_black()
                measures = perception.added(measures, picture, truth, camera if number == source else None)
                collected[method].setdefault(group, []).append(measures)
                pictures.append(picture)
            row.append(pictures)
        if len(rows) < sheet_heads:
            rows.append(np.concatenate([np.concatenate(pictures, axis=1) for pictures in row], axis=0))
    progress("evaluate", 1.0)
    table = {
        method: {group: mean_measures(groups[group]) for group in GROUPS if group in groups}
        for method, groups in collected.items()
    }
    people = [person for path in files if (person := Person.load(path)) is not None]
    told = len(people) == len(files)
    balanced = {method: balance(people, groups["source"]) for method, groups in collected.items() if told}
    mean_seconds = {name: float(np.mean(spent)) for name, spent in seconds.items()}
    return Report(len(files), table, mean_seconds, balanced, _sheet(rows))


def rendered_subject(model: Model, view: PixelView) -> Subject:
    """A rendered head as a model is shown it: on black, for it has no background."""
    device = next(model.network.parameters()).device
    rgb = view.rgb / np.float32(255)
    subject = Subject.of(rgb, view.alpha, view.camera.label, matted=True, device=device, face=model.preset.face)
    return subject if model.preset.matted else replace(subject, matte=None)


def _within(progress: Progress) -> Observer:
    """A method's own stages are not told, but it can be cancelled."""
    return Observer(Progress(cancelled=progress.cancelled))


def _compare(model: Model, head: TriplaneField, camera: Camera, truth: PixelView) -> tuple[ViewMeasures, np.ndarray]:
    seen = render_view(head, camera, size=len(truth.alpha), rendering=model.preset.generator.rendering)
    return compare_views(seen.rgb, seen.alpha, seen.depth, truth), seen.rgb


def _sheet(rows: list[np.ndarray]) -> Image.Image:
    """Each head's truth and, below, what the methods make of it, head by head from top to bottom."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    return Image.fromarray((np.concatenate(padded).clip(0, 1) * 255).round().astype(np.uint8))


def write_report(report: Report, folder: Path) -> None:
    """Write report.md, report.json and sheet.png into a folder, which is made if it isn't there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.md", report.markdown()), ("report.json", report.json())):
        with replacing(folder / name) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")
    with replacing(folder / "sheet.png") as unfinished:
        report.sheet.save(unfinished, format="PNG")
