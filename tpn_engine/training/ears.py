"""The ears that meshes get: python -m tpn_engine.training.ears --assets ASSETS --heads HEADS --out FILE.

Their shape is the mean of the sampler's. Where they are, and whether hair hides them, is learned from rendered heads as
the model makes them: a linear map of how far out their sides reach, in the leading directions of that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from tpn_engine.checkpoints import Model, load_model
from tpn_engine.errors import HeadCaptureError
from tpn_engine.files import replacing
from tpn_engine.inversion.fitting import Observer
from tpn_engine.inversion.invert import INVERTERS
from tpn_engine.inversion.options import make_options
from tpn_engine.progress import SILENT
from tpn_engine.surface.density import Lattice
from tpn_engine.surface.ear_places import side_reach
from tpn_engine.surface.ear_shape import MIDDLE, EarShape, within
from tpn_engine.surface.ready import ready_density
from tpn_engine.training.data import HeadViews, head_files
from tpn_engine.training.evaluate import rendered_subject
from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.heads.figure import make_figure
from tpn_engine.training.heads.geometry import vertex_normals
from tpn_engine.training.heads.parameters import sample_parameters
from tpn_engine.training.learner_options import learner_options
from tpn_engine.training.mean_ear import mean_ear, mean_skin

MEAN_OF = range(700_000, 700_300)  # seeds of the heads whose mean ear it is
RESOLUTION = 192  # of the lattice on which sides are looked at
ASIDE, CAMERA_ASIDE = 0.1, 1.2  # EG3D units to a side: of ears, and of cameras that tell whether hair hides one
ON_SKIN, HIDDEN, SHOWN = 0.015, 0.02, 0.6  # EG3D units from the skin to what is seen; the share that makes an ear shown
DIRECTIONS, RIDGE = 20, 100.0  # of sides; the weight of small coefficients, in examples
UNIT = 0.012 / 127  # EG3D units that a step of the kept distance is: farther ones don't matter


@dataclass(frozen=True)
class MeanEar:
    """The ear on a side of the mean skin `mean` [P, 3], mirrored to the left: which points are its outside."""

    side: int
    ear: np.ndarray
    mean: np.ndarray

    @classmethod
    def on(cls, skin: np.ndarray, triangles: np.ndarray, side: int) -> MeanEar:
        """Of a mean skin, [P, 3] and [T, 3]."""
        mean = skin * (side, 1, 1)
        up, forward = (mean[:, 1:] - MIDDLE).T
        outside = (mean[:, 0] > ASIDE) & (vertex_normals(skin, triangles)[:, 0] * side > 0)
        return cls(side, np.flatnonzero((within(up, forward) < 1) & outside), mean)

    def place(self, skin: np.ndarray) -> list[float]:
        """Where a head's skin [P, 3] has this ear: the numbers of EarPlace, by least squares."""
        points = skin * (self.side, 1, 1)
        mean, own = (self._flat(which) for which in (self.mean, points))
        middles = mean[self.ear].mean(), own[self.ear].mean()
        centred, moved = mean[self.ear] - middles[0], own[self.ear] - middles[1]
        turn = np.vdot(centred, moved) / np.vdot(centred, centred)  # a factor and an angle, as a complex number
        shift = middles[1] - turn * middles[0]
        return [shift.real, shift.imag, np.log(abs(turn)), np.angle(turn)]

    def _flat(self, points: np.ndarray) -> np.ndarray:
        """Up and forward from MIDDLE as complex numbers, [P]."""
        return points[:, 1] - MIDDLE[0] + 1j * (points[:, 2] - MIDDLE[1])

    def shown(self, skin: np.ndarray, views: HeadViews) -> bool:
        """Whether the pictures of a head show the ear, not hair over it."""
        points, best = skin[self.ear], 0.0
        for camera, depth in zip(views.cameras, views.depth, strict=True):
            places = camera.project(points)
            if camera.position[0] * self.side < CAMERA_ASIDE or ((places[:, :2] < 0) | (places[:, :2] >= 1)).any():
                continue
            column, row = (places[:, :2] * len(depth)).astype(int).T
            seen = depth[row, column].astype(np.float64)
            on_skin = (np.abs(seen - places[:, 2]) < ON_SKIN).mean()
            hidden = ((seen > 0) & (seen < places[:, 2] - HIDDEN)).mean()
            best = max(best, on_skin / max(on_skin + hidden, 1e-6))
        return best > SHOWN


def examples(
    model: Model, assets: HeadAssets, files: list[Path], ears: list[MeanEar]
) -> Iterator[tuple[np.ndarray, list[float], bool]]:
    """How far out a side of a head reaches, where its ear is, and whether it is shown; two sides, two views a head."""
    options, watch = make_options("triplanenet", {}), Observer(SILENT)
    level = model.preset.iso_level
    for number, path in enumerate(files):
        parameters = sample_parameters(assets, np.random.default_rng(int(path.stem[5:])))
        skin = make_figure(assets, parameters.identity, parameters.expression).skin.points
        views = HeadViews.load(path)
        known = [(ear.place(skin), ear.shown(skin, views)) for ear in ears]
        for source in views.as_photographed():
            view = views.view(source)
            made = INVERTERS["triplanenet"](model, rendered_subject(model, view), options, watch)
            field = made.head(model.preset, view.alpha)
            lattice = Lattice(RESOLUTION, field.box)
            density = ready_density(field, lattice, level, None)
            for ear, (place, shown) in zip(ears, known, strict=True):
                yield side_reach(density, lattice, level, ear.side).ravel(), place, shown
        print(f"\rheads {number + 1} of {len(files)}", end="", file=sys.stderr, flush=True)


def fit_places(reached: np.ndarray, places: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The linear map from how far out sides reach [N, D] to places [N, 4] and whether ears are shown [N].

    Its weight [5, D] and bias [5]; the last answer is 1 for an ear and -1 for none. Places are learned from shown ears.
    """
    mean = reached.mean(0)
    _, spread, axes = np.linalg.svd(reached - mean, full_matrices=False)
    axes = axes[:DIRECTIONS] / (spread[:DIRECTIONS, None] / len(reached) ** 0.5)
    weights, biases = [], []
    for wanted, where in ((places, shown), (np.where(shown, 1.0, -1.0)[:, None], np.ones_like(shown))):
        known, middle = (reached[where] - mean) @ axes.T, wanted[where].mean(0)
        known_middle = known.mean(0)
        known = known - known_middle
        weight = np.linalg.solve(known.T @ known + RIDGE * np.eye(len(axes)), known.T @ (wanted[where] - middle)).T
        weights.append(weight @ axes)
        biases.append(middle - weight @ (known_middle + axes @ mean))
    return np.concatenate(weights), np.concatenate(biases)


def write_ears(shape: EarShape, weight: np.ndarray, bias: np.ndarray, out: Path) -> None:
    """Write the file that `surface/ear_shape.py` and `surface/ear_places.py` read."""
    tensors = {
        "shape.distance": np.round(shape.distance / UNIT).clip(-127, 127).astype(np.int8),
        "shape.light": np.round(shape.light * 255).astype(np.uint8),
        "shape.low": shape.low,
        "shape.step": np.array(shape.step),
        "shape.unit": np.array(UNIT, np.float32),
        "place.weight": weight.astype(np.float32),
        "place.bias": bias.astype(np.float32),
    }
    with replacing(out) as unfinished:
        unfinished.write_bytes(save(tensors))


def main() -> int:
    """Entry point; 1 with one line when something is wrong."""
    options = learner_options("ears", __doc__).parse_args()
    try:
        assets = HeadAssets.load(options.assets)
        skin = mean_skin(assets, MEAN_OF)
        files = head_files(options.heads, options.held_out_every)[0]
        ears = [MeanEar.on(skin, assets.skin.triangles, side) for side in (1, -1)]
        seen = examples(load_model(options.model), assets, files, ears)
        reached, places, shown = (np.array(column) for column in zip(*seen, strict=True))
        weight, bias = fit_places(reached, places, shown)
        write_ears(mean_ear(skin, assets.skin.triangles), weight, bias, options.out)
    except HeadCaptureError as error:
        print(error, file=sys.stderr)
        return 1
    right = ((reached @ weight[-1] + bias[-1] > 0) == shown).mean()
    print(f"\n{len(shown)} sides, {shown.mean():.0%} with an ear, {right:.1%} told right", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
