"""A face's finest relief, as a net reads it from the photo: eyes behind their lids, lips, nostrils, folds.

What a model and landmarks make of a face is smooth. A net that has seen many heads, as the model makes them and as they
are, tells from the photo how much farther each place lies. Vertices move along the rays of the photo's camera, so that
the photo keeps its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from tpn_engine.camera import Camera
from tpn_engine.nets.displacement_net import DisplacementNet
from tpn_engine.surface.colors import Photo
from tpn_engine.surface.detail import split_edges
from tpn_engine.surface.flat_face import FlatFace
from tpn_engine.surface.membrane import mesh_edges
from tpn_engine.surface.raster import rasterize
from tpn_engine.surface.relief import averaged, landmark_points, pixels_of_unit, shown_face
from tpn_engine.surface.sight import rise, sample

FILE = Path(__file__).parent.parent / "weights" / "displacement.safetensors"
SIZE = 192  # pixels of a face spread out flat
PICTURE = 256  # pixels of the crop, as the net knows it
DEPTH_SIZE = 512  # and of the picture of depth
FINE = 0.03  # EG3D units, standard deviation: what is finer is relief
STEEPEST = 0.02  # EG3D units of relief that are told from more
BEHIND = (0.01, 0.02)  # EG3D units behind what is seen over which vertices come to be something else
FINER, ROUNDS = 0.0004, 2  # EG3D units by which an edge's middle moves otherwise than its ends, to be split; how often


@dataclass(frozen=True)
class Displacement:
    """How much farther a head's surface is to lie than it does, [S, S] in EG3D units along the camera's axis.

    `depth` [S, S] is where it lies, infinite where nothing does.
    """

    camera: Camera
    farther: np.ndarray
    depth: np.ndarray

    def at(self, vertices: np.ndarray) -> np.ndarray:
        """Of vertices [N, 3], [N]: 0 for those that the camera doesn't see."""
        places = self.camera.project(vertices)
        inside = ((places[:, :2] > 0) & (places[:, :2] < 1)).all(1)
        seen = np.where(np.isfinite(self.depth), self.depth, 0)
        behind = places[:, 2] - sample(seen, places[:, :2])
        return sample(self.farther, places[:, :2]) * inside * (1 - rise(np.abs(behind), BEHIND))


def displaced(
    vertices: np.ndarray, triangles: np.ndarray, placed: np.ndarray, photo: Photo, *, finer: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A mesh's vertices [N, 3] float32 with the relief that its `photo` shows, its triangles [M, 3], and `placed`.

    With `finer` edges are split where they can't hold it; the middles come last, and `placed` [N, 3] float32 gets them,
    too. It moves as the vertices do: they have the colours of where they come to lie.
    """
    found = read_displacement(vertices, triangles, photo)
    both = np.concatenate([vertices, placed], axis=1)
    for _ in range(ROUNDS if finer else 0):
        vertices = both[:, :3]
        farther = found.at(vertices)
        near = triangles[(farther[triangles] != 0).any(1)]
        edges = mesh_edges(near) if len(near) else np.zeros((0, 2), np.int64)
        middle = found.at(vertices[edges].mean(1))
        chosen = edges[np.abs(middle - farther[edges].mean(1)) > FINER]
        both, triangles = split_edges((both, triangles), chosen)
    vertices, placed = np.split(both, 2, axis=1)
    away = vertices - photo.camera.position
    along = away / photo.camera.project(vertices)[:, 2:]  # as far as the axis gains one
    moves = found.at(vertices)[:, None] * along
    return (vertices + moves).astype(np.float32), triangles, (placed + moves).astype(np.float32)


def read_displacement(vertices: np.ndarray, triangles: np.ndarray, photo: Photo) -> Displacement:
    """What the net reads in the photo of a head's surface, whose landmarks it knows."""
    assert photo.landmarks is not None
    flat, net = flat_face(), _net()
    depth = rasterize(vertices, triangles, photo.camera, DEPTH_SIZE).depth
    scale = pixels_of_unit(depth, photo.camera)
    relief = flat.spread(fine_relief(depth, scale), photo.landmarks)
    picture = flat.spread(as_known(photo.picture), photo.landmarks)
    with torch.inference_mode():
        told = net(
            torch.from_numpy(picture).permute(2, 0, 1)[None],
            torch.from_numpy(relief)[None],
            torch.from_numpy(flat.covered),
        )[0].numpy()
    points = landmark_points(photo.landmarks, photo.camera, float(np.linalg.norm(photo.camera.position)))
    farther, face = flat.gathered(told, points, photo.camera, DEPTH_SIZE)
    share = shown_face(depth, face, scale)[1]
    return Displacement(photo.camera, np.where(share > 0, share * farther, 0), depth)


def fine_relief(depth: np.ndarray, scale: float) -> np.ndarray:
    """How much farther each pixel of a depth picture [S, S] lies than what is around it, EG3D units; 0 for nothing."""
    seen = np.isfinite(depth)
    depth = np.where(seen, depth, 0)
    relief = depth - averaged(depth, seen, FINE * scale)
    return np.where(seen, relief.clip(-STEEPEST, STEEPEST), 0)


def as_known(picture: np.ndarray) -> np.ndarray:
    """A crop [S, S, 3] as finely as the net has seen some, [PICTURE, PICTURE, 3] float32."""
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    return F.adaptive_avg_pool2d(image, PICTURE)[0].permute(1, 2, 0).numpy()


@cache
def flat_face() -> FlatFace:
    """How the net in the package sees faces."""
    return FlatFace.of(load_file(FILE)["places"].double().numpy(), SIZE)


@cache
def _net() -> DisplacementNet:
    weights = load_file(FILE)
    del weights["places"]
    net = DisplacementNet()
    net.load_state_dict({name: value.float() for name, value in weights.items()})
    return net.eval().requires_grad_(False)
