"""How well a model inverts heads that it has never seen: tables and pictures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tpn_engine.camera import Camera
from tpn_engine.checkpoints import Model
from tpn_engine.files import replacing
from tpn_engine.nets.field import TriplaneField
from tpn_engine.progress import SILENT, Progress
from tpn_engine.training.data import HeadViews, photo_tensor
from tpn_engine.training.measures import ViewMeasures, compare_views, mean_measures
from tpn_engine.training.supervision import PixelView
from tpn_engine.views import render_view

# Novel views are grouped by how far the camera moved to the side, in degrees.
GROUPS = {"source": (0.0, 0.0), "10-45": (10.0, 45.0), "45-90": (45.0, 90.0), "behind": (90.0, 360.0)}


@dataclass(frozen=True)
class Report:
    """Means per method and group of views, the seconds per head, and a picture of some heads."""

    heads: int
    measures: dict[str, dict[str, dict[str, float]]]
    seconds: dict[str, float]
    sheet: Image.Image

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = [
            "| method | view | PSNR dB | SSIM | silhouette IoU | depth error % of head height |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {method} | {group} | {m['psnr']:.2f} | {m['ssim']:.3f} | {m['iou']:.3f} | {m['depth']:.2f} |"
            for method, groups in self.measures.items()
            for group, m in groups.items()
        ]
        return "\n".join(lines)

    def json(self) -> str:
        """The same as JSON."""
        return json.dumps({"heads": self.heads, "measures": self.measures, "seconds": self.seconds}, indent=2)


def group_of(source: Camera, other: Camera) -> str | None:
    """Which group a view belongs to by the angle between its direction and the source's; None between groups."""
    directions = [camera.position / np.linalg.norm(camera.position) for camera in (source, other)]
    angle = float(np.degrees(np.arccos(np.clip(directions[0] @ directions[1], -1, 1))))
    for name, (low, high) in GROUPS.items():
        if name != "source" and low <= angle < high:
            return name
    return None


def evaluate(model: Model, files: list[Path], *, sheet_heads: int = 8, progress: Progress = SILENT) -> Report:
    """Invert each held-out head from its most frontal view and compare every view with the truth."""
    collected: dict[str, dict[str, list[ViewMeasures]]] = {}
    seconds: dict[str, list[float]] = {}
    rows: list[np.ndarray] = []
    rendering = model.preset.generator.rendering
    for index, path in enumerate(files):
        progress("evaluate", index / len(files))
        head = HeadViews.load(path)
        source = int(np.argmin(np.abs(head.yaws())))
        views = [head.view(number) for number in range(len(head.cameras))]
        pictures = [views[source].on_black()]
        for method, field, spent in fields_of(model, views[source]):
            seconds.setdefault(method, []).append(spent)
            for number, view in enumerate(views):
                group = "source" if number == source else group_of(views[source].camera, view.camera)
                if group is None:
                    continue
                seen = render_view(field, view.camera, size=len(view.alpha), rendering=rendering)
                measures = compare_views(seen.rgb, seen.alpha, seen.depth, view.on_black(), view.alpha, view.depth)
                collected.setdefault(method, {}).setdefault(group, []).append(measures)
                if len(rows) < sheet_heads:
                    pictures.append(seen.rgb)
        if len(rows) < sheet_heads:
            rows.append(np.concatenate(pictures, axis=1))
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    sheet = Image.fromarray((np.concatenate(padded).clip(0, 1) * 255).round().astype(np.uint8))
    table = {
        method: {group: mean_measures(groups[group]) for group in GROUPS if group in groups}
        for method, groups in collected.items()
    }
    return Report(len(files), table, {name: float(np.mean(spent)) for name, spent in seconds.items()}, sheet)


@torch.inference_mode()
def fields_of(model: Model, source: PixelView) -> list[tuple[str, TriplaneField, float]]:
    """The fields that each phase of inversion makes of one view, with the seconds it took from the start."""
    generator = model.network.decoder
    device = next(generator.parameters()).device
    photo = photo_tensor(source.on_black())[None].to(device)
    label = torch.from_numpy(source.camera.label)[None].to(device)
    started = time.perf_counter()
    pivot = model.network.pivot(photo)
    pivot_seconds = time.perf_counter() - started
    refined = model.network.refine(pivot, photo, label)
    refined_seconds = time.perf_counter() - started

    return [
        ("pivot", generator.field(pivot.planes[0]), pivot_seconds),
        ("refined", generator.field(refined[0]), refined_seconds),
    ]


def write_report(report: Report, folder: Path) -> None:
    """Write report.md, report.json and sheet.png into a folder, which is made if it isn't there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("report.md", report.markdown()), ("report.json", report.json())):
        with replacing(folder / name) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")
    with replacing(folder / "sheet.png") as unfinished:
        report.sheet.save(unfinished, format="PNG")
