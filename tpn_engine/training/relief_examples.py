"""Faces spread out flat: how a photo shows them, how a model makes them, and how much farther they truly lie."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trimesh

from tpn_engine.checkpoints import Model
from tpn_engine.errors import FileError
from tpn_engine.files import replacing
from tpn_engine.inversion.fitting import Observer
from tpn_engine.inversion.invert import INVERTERS
from tpn_engine.inversion.options import make_options
from tpn_engine.portrait.landmarks import PRESENCE, FaceLandmarker, Region, mirrored_indices
from tpn_engine.portrait.weights import canonical_face
from tpn_engine.progress import SILENT
from tpn_engine.surface.cleanup import Surface
from tpn_engine.surface.colors import Photo
from tpn_engine.surface.density import Lattice
from tpn_engine.surface.displacement import DEPTH_SIZE, FINE, SIZE, as_known, fine_relief
from tpn_engine.surface.flat_face import FlatFace
from tpn_engine.surface.isosurface import isosurface
from tpn_engine.surface.raster import rasterize
from tpn_engine.surface.ready import ready_density
from tpn_engine.surface.relief import averaged, pixels_of_unit
from tpn_engine.training.data import HeadViews
from tpn_engine.training.evaluate import rendered_subject
from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.heads.body_meshes import eyeball_points
from tpn_engine.training.heads.figure import make_figure
from tpn_engine.training.heads.parameters import sample_parameters
from tpn_engine.training.pictures import PixelView

BORDER = 0.02  # of the square, free around the face
RESOLUTION = 256  # of the lattice
OF_ANOTHER, COVERED = 0.03, 0.012  # EG3D units off that mean another surface, and from what is seen to the skin
GREATEST = 0.015  # EG3D units of relief that is learned
Example = dict[str, np.ndarray]


def flat_layout() -> FlatFace:
    """Landmarks where MediaPipe's canonical face has them seen from the front, made symmetric, as large as fits."""
    face = canonical_face()[:, :2] * (1, -1)
    face = (face + face[mirrored_indices()] * (-1, 1)) / 2
    low, high = face.min(0), face.max(0)
    return FlatFace.of((face - (low + high) / 2) * (1 - 2 * BORDER) / (high - low).max() + 0.5, SIZE)


def true_surface(assets: HeadAssets, seed: int) -> Surface:
    """The skin, eyeballs, teeth and tongue of the head of a seed, without hair and all that it wears."""
    parameters = sample_parameters(assets, np.random.default_rng(seed))
    figure = make_figure(assets, parameters.identity, parameters.expression)
    parts = [(figure.skin.points, assets.skin.triangles)]
    parts.append((eyeball_points(assets, parameters, figure), assets.proxies["eyes"].point_triangles))
    for name in ("teeth", "tongue"):
        proxy = assets.proxies[name]
        parts.append((figure.to_world(proxy.fit(figure.base)), proxy.point_triangles))
    points, triangles = trimesh.util.append_faces(*zip(*parts, strict=True))
    return points, triangles


def example(made: Surface, true: Surface, view: PixelView, landmarks: np.ndarray, flat: FlatFace) -> Example:
    """One face of a head as a model `made` it and as it is, in a view that shows it; landmarks [468, 3] in [0, 1].

    `farther` and `relief` float16 in EG3D units, `known` bool, each [S, S], and `picture` uint8 [S, S, 3].
    """
    depth, truth = (rasterize(*surface, view.camera, DEPTH_SIZE).depth for surface in (made, true))
    scale = pixels_of_unit(depth, view.camera)
    every = DEPTH_SIZE // len(view.depth)
    seen = view.depth.repeat(every, axis=0).repeat(every, axis=1)
    farther = np.where(np.isfinite(depth) & np.isfinite(truth), truth, 0) - np.where(np.isfinite(depth), depth, 0)
    known = np.isfinite(truth) & (np.abs(farther) < OF_ANOTHER)
    known &= np.abs(np.where(np.isfinite(truth), truth, 0) - seen) < COVERED
    farther = farther - averaged(farther, known, FINE * scale)
    known &= np.abs(farther) < GREATEST
    spread = {
        "farther": np.where(known, farther, 0),
        "known": known.astype(np.float32),
        "relief": fine_relief(depth, scale),
        "picture": as_known(view.on_black()),
    }
    spread = {name: flat.spread(part, landmarks) for name, part in spread.items()}
    return {
        "farther": spread["farther"].astype(np.float16),
        "known": spread["known"] > 0.99,
        "relief": spread["relief"].astype(np.float16),
        "picture": (spread["picture"] * 255).round().astype(np.uint8),
    }


def make_examples(model: Model, assets: HeadAssets, files: list[Path], flat: FlatFace, folder: Path) -> list[Path]:
    """Files with the examples of each head, those made that the folder lacks; heads that show no face have none.

    Raises FileError where there are fewer than two and where a file can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    landmarker = FaceLandmarker(next(model.network.parameters()).device)
    for number, path in enumerate(files):
        if not (folder / path.name).exists():
            true = true_surface(assets, int(path.stem[5:]))
            found = [example(*seen, flat) for seen in _seen(model, landmarker, HeadViews.load(path), true)]
            if found:
                stacked = {name: np.stack([one[name] for one in found]) for name in found[0]}
                with replacing(folder / path.name) as unfinished:
                    np.savez_compressed(unfinished, **stacked)
        print(f"\rheads {number + 1} of {len(files)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    made = [folder / path.name for path in files if (folder / path.name).exists()]
    if len(made) < 2:
        raise FileError("A net that reads relief needs two heads at least that show a face: render some more.")
    return made


def _seen(
    model: Model, landmarker: FaceLandmarker, views: HeadViews, true: Surface
) -> Iterator[tuple[Surface, Surface, PixelView, np.ndarray]]:
    """A head from the front and turned, as a model makes it of each view, with its landmarks there."""
    options, level = make_options("triplanenet", {}), model.preset.iso_level
    for source in views.as_photographed():
        view = views.view(source)
        picture, subject = view.on_black(), rendered_subject(model, view)
        landmarks, presence = landmarker.landmarks(picture, Region.expected(view.camera, subject.face, len(picture)))
        if presence < PRESENCE:
            continue
        landmarks = landmarks / len(picture)
        field = INVERTERS["triplanenet"](model, subject, options, Observer(SILENT)).head(model.preset, view.alpha)
        lattice = Lattice(RESOLUTION, field.box)
        photo = Photo(picture, view.alpha, view.camera, landmarks=landmarks)
        yield isosurface(ready_density(field, lattice, level, photo), lattice, level), true, view, landmarks
