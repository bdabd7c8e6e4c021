"""Colours of the mesh's vertices: the decoder's, and the photo's where it shows them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial import KDTree

from tpn_engine.camera import Camera
from tpn_engine.nets.field import TriplaneField
from tpn_engine.nets.silhouette import Silhouette
from tpn_engine.surface.detail import split_edges
from tpn_engine.surface.grain import carried, contrast, strands
from tpn_engine.surface.membrane import edge_lengths, membrane, mesh_edges
from tpn_engine.surface.mesh import HeadMesh
from tpn_engine.surface.scalp import like_scalp, on_scalp, tinted
from tpn_engine.surface.sight import Sight, facing, rise, sample

CERTAIN = 0.97  # confidence from which a vertex has the photo's own pixel
HOLD = 0.3  # how strongly half a confidence holds a vertex to the photo, against its edges
REACH = 0.25  # EG3D units from what is seen over which the model's own colours take over
TINT_NOISE = 0.04  # standard deviation of model colours that mean nothing, sRGB
ENOUGH_SEEN = 100  # vertices from which the model's colours are matched to the photo's
# Colour distances from the matched model at which a photo's pixel is of something else (hair over a cheek,
# an ear that isn't there), where the surface turns away and where it faces the camera.
STRANGE = (0.14, 0.9)
TRUSTED_FACING = (0.5, 0.8)
LOOK_AROUND = 0.008  # widths of the crop over which the photo is averaged for that
MIRRORED_STRANGE = (0.06, 0.2)
# Strands are made up behind and above the picture. They give way to the photo's detail between these confidences, and
# to the model's pattern between these cosines to the nearer of the camera and the front: cheeks have none, the sides of
# a scalp have.
GRAINED = (0.0, 0.5)
PATTERNED, PATTERNED_SCALP = (-0.35, 0.15), (0.2, 0.7)
ABOVE, BELOW = (0.0, 0.03), (-0.05, 0.0)  # widths of the crop, from where the photo begins up and where it ends down
SPLIT_FROM = 0.025  # sRGB: how far the photo is from an edge's own colour in its middle, to split it
SPLITS = 2  # of an edge of a 256^3 lattice: then it is shorter than a pixel


@dataclass(frozen=True)
class Photo:
    """The aligned crop, or more of the photo: picture [S, S, 3], the person's matte [S, S], float32 in [0, 1], camera.

    The picture is `widths` crops wide; of it the photo itself is `shown` [S, S] bool, None means all.
    `landmarks` [L, 3] of the face, where they are known: u and v in the picture, in [0, 1], and how deep in the same
    unit, relative.
    """

    picture: np.ndarray
    matte: np.ndarray
    camera: Camera
    widths: float = 1.0
    shown: np.ndarray | None = None
    landmarks: np.ndarray | None = None

    @property
    def crop_size(self) -> float:
        """Pixels along the crop's edge."""
        return len(self.picture) / self.widths

    @property
    def rows(self) -> tuple[float, float]:
        """The heights between which the photo lies, 0 the upper and 1 the lower edge of the picture."""
        if self.shown is None:
            return 0.0, 1.0
        rows = np.flatnonzero(self.shown.any(axis=1))
        return rows[0] / len(self.shown), (rows[-1] + 1) / len(self.shown)

    def silhouette(self, level: float, device: torch.device) -> Silhouette:
        """The outline of the person as a bound of a field of this iso-level; beyond the photo nothing is bounded."""
        person = self.matte if self.shown is None else np.where(self.shown, self.matte, 1)
        return Silhouette.of(person, torch.from_numpy(self.camera.label).to(device), level, self.widths)


def vertex_colors(field: TriplaneField, vertices: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] at `vertices` [N, 3] (EG3D units), [N, 3] float32."""
    points = torch.from_numpy(vertices).to(field.planes.device)
    with torch.no_grad():
        return field.colors(points).cpu().numpy()


def with_photo(mesh: HeadMesh, photo: Photo, *, finer: bool = True) -> HeadMesh:
    """The mesh in the photo's colours: its own pixels where the source camera sees it well.

    Elsewhere a membrane (Poisson's equation on the mesh) goes on from there without a seam: toward the
    model's colours, matched to the photo's, with their pattern and with what the photo adds to the model on
    the other side of a symmetric head. Clothes go on below the picture as they are in it, and hair behind and
    above it is grained as it is. With `finer` triangles are split where the photo shows more than they can
    hold; surface and normals stay.
    """
    edges = mesh_edges(mesh.triangles)
    sight = Sight.of(mesh.vertices, mesh.triangles, photo.camera, photo.matte, photo.widths)
    seen = sample(photo.picture, photo.camera.project(mesh.vertices)[:, :2])
    matched, confidence = _weighed(mesh, photo, sight, seen, edges)
    if confidence.max(initial=0) < CERTAIN:
        return mesh
    matched = tinted(matched, mesh.vertices, photo.picture, photo.matte, photo.camera, photo.crop_size)
    of_photo = HOLD * confidence**2 / np.maximum(1 - confidence, 1e-6)
    modelled = _modelled(mesh, photo)
    of_model = modelled * (np.median(edge_lengths(mesh.vertices, edges)) / REACH) ** 2
    strength = np.where(confidence >= CERTAIN, np.inf, of_photo + of_model)
    share = (of_photo / np.maximum(of_photo + of_model, 1e-12))[:, None]
    known = np.where(confidence[:, None] > 0, share * seen + (1 - share) * matched, matched)
    differences = _pattern(mesh, photo, sight, matched, modelled, edges)
    colors = membrane(mesh.vertices, edges, known, strength, differences)
    haired = like_scalp(colors, mesh.vertices)
    colors *= 1 + _grain(mesh, photo, matched, confidence, haired)[:, None]
    colored = replace(mesh, colors=colors.clip(0, 1).astype(np.float32))
    if not finer:
        return colored
    for _ in range(SPLITS):
        colored, confidence = _finer(colored, confidence, photo)
    return colored


def photo_confidence(mesh: HeadMesh, photo: Photo) -> np.ndarray:
    """How far the photo's pixel is taken for each vertex of a mesh in the model's colours, [N] in [0, 1]."""
    sight = Sight.of(mesh.vertices, mesh.triangles, photo.camera, photo.matte, photo.widths)
    seen = sample(photo.picture, photo.camera.project(mesh.vertices)[:, :2])
    return _weighed(mesh, photo, sight, seen, mesh_edges(mesh.triangles))[1]


def _weighed(
    mesh: HeadMesh, photo: Photo, sight: Sight, seen: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The model's colours [N, 3] matched to the photo's, and the confidence [N] in the photo."""
    confidence = sight.confidence(mesh.vertices, mesh.normals)
    matched = _matched(mesh.colors, seen, confidence)
    return matched, _shrunk(confidence * _alike(mesh, photo, matched), edges)


def _matched(model: np.ndarray, seen: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The model's colours [N, 3] by the linear map that best explains the photo where it is seen.

    What of the model's colours goes with nothing in the photo, such as a tint from here to there, fades.
    """
    sure = confidence > 0.9
    if sure.sum() < ENOUGH_SEEN:
        return model.astype(np.float64)
    x, y = model[sure].astype(np.float64), seen[sure].astype(np.float64)
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    spread = x.T @ x / len(x) + TINT_NOISE**2 * np.eye(3)
    return ((model - x_mean) @ np.linalg.solve(spread, x.T @ y / len(x)) + y_mean).clip(0, 1)


def _alike(mesh: HeadMesh, photo: Photo, matched: np.ndarray) -> np.ndarray:
    """1 where the photo's pixel can be of the vertex, [N]: what faces the camera may differ more."""
    around = ndimage.gaussian_filter(photo.picture, (LOOK_AROUND * photo.crop_size,) * 2 + (0,))
    seen = sample(around, photo.camera.project(mesh.vertices)[:, :2])
    distance = np.linalg.norm(seen - matched, axis=1)
    share = rise(facing(mesh.vertices, mesh.normals, photo.camera), TRUSTED_FACING)
    limit = STRANGE[0] + share * (STRANGE[1] - STRANGE[0])
    return 1 - rise(distance / limit, (1.0, 1.5))


def _shrunk(confidence: np.ndarray, edges: np.ndarray, steps: int = 3) -> np.ndarray:
    """No vertex is surer than its neighbours are on average: single ones never stand out."""
    starts, ends = np.concatenate([edges, edges[:, ::-1]]).T
    degree = np.maximum(np.bincount(starts, minlength=len(confidence)), 1)
    for _ in range(steps):
        confidence = np.minimum(confidence, np.bincount(starts, confidence[ends], len(confidence)) / degree + 0.02)
    return confidence


def _pattern(
    mesh: HeadMesh, photo: Photo, sight: Sight, matched: np.ndarray, modelled: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """The colour differences that unseen edges should have, [E, 3]."""
    start, end = edges.T
    pattern = np.minimum(modelled[start], modelled[end])[:, None] * (matched[end] - matched[start])

    mirror = mesh.vertices * (-1, 1, 1)
    symmetric = sight.mirrored_confidence(mesh.vertices, mesh.normals)
    there = _nearest_values(mesh.vertices, matched, mirror, symmetric > 0)
    symmetric = symmetric * (1 - rise(np.linalg.norm(there - matched, axis=1), MIRRORED_STRANGE))
    added = sample(photo.picture, photo.camera.project(mirror)[:, :2]) - there
    return pattern + np.minimum(symmetric[start], symmetric[end])[:, None] * (added[end] - added[start])


def _modelled(mesh: HeadMesh, photo: Photo) -> np.ndarray:
    """How far the model's colours are believed at each vertex, [N] in [0, 1]: not where clothes leave the photo."""
    below = rise((photo.camera.project(mesh.vertices)[:, 1] - photo.rows[1]) * photo.widths, BELOW)
    return 1 - below * rise(_turned(mesh, photo.camera), PATTERNED)


def _turned(mesh: HeadMesh, camera: Camera) -> np.ndarray:
    """Cosines to the nearer of the camera and the front, [N]."""
    return np.maximum(facing(mesh.vertices, mesh.normals, camera), mesh.normals[:, 2])


def _grain(mesh: HeadMesh, photo: Photo, matched: np.ndarray, confidence: np.ndarray, haired: np.ndarray) -> np.ndarray:
    """By how much of its brightness each vertex is darker or lighter than its surroundings, [N]: 0 where it is seen.

    And where it isn't `haired` [N] in [0, 1].
    """
    projected = photo.camera.project(mesh.vertices)[:, :2]
    turned = _turned(mesh, photo.camera)
    scalp = on_scalp(mesh.vertices) * (1 - rise(turned, PATTERNED_SCALP))
    above = rise((photo.rows[0] - projected[:, 1]) * photo.widths, ABOVE)
    away = np.maximum(np.maximum(1 - rise(turned, PATTERNED), scalp), above)
    share = away * (1 - rise(confidence, GRAINED)) * haired
    unseen = np.flatnonzero(share)
    strength = sample(contrast(photo.picture, photo.matte, photo.crop_size), projected)
    strength = carried(strength, confidence >= CERTAIN, unseen, mesh.vertices, matched)
    grain = np.zeros(len(share))
    grain[unseen] = share[unseen] * strength * strands(mesh.vertices[unseen])
    return grain


def _nearest_values(vertices: np.ndarray, values: np.ndarray, places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The values [N, C] of the vertices nearest to the `wanted` places; elsewhere those of the place's own."""
    found = values.copy()
    if wanted.any():
        distance, nearest = KDTree(vertices).query(places[wanted], k=3)
        share = 1 / np.maximum(distance, 1e-6)
        share /= share.sum(1, keepdims=True)
        found[wanted] = (values[nearest] * share[..., None]).sum(1)
    return found


def _finer(mesh: HeadMesh, confidence: np.ndarray, photo: Photo) -> tuple[HeadMesh, np.ndarray]:
    """The mesh with every edge split in whose middle the photo differs from what the edge shows."""
    near = mesh.triangles[(confidence[mesh.triangles] > 0.5).sum(1) >= 2]
    if not len(near):
        return mesh, confidence
    edges = mesh_edges(near)
    sure = confidence[edges].min(1)
    edges, sure = edges[sure > 0.5], sure[sure > 0.5]
    middle = (mesh.vertices[edges[:, 0]] + mesh.vertices[edges[:, 1]]) / 2
    shown = (mesh.colors[edges[:, 0]] + mesh.colors[edges[:, 1]]) / 2
    share = rise(sure, (0.5, CERTAIN))[:, None]
    color = shown + share * (sample(photo.picture, photo.camera.project(middle)[:, :2]) - shown)
    chosen = np.abs(color - shown).max(1) > SPLIT_FROM
    vertices, triangles = split_edges((mesh.vertices, mesh.triangles), edges[chosen])
    normals = mesh.normals[edges[chosen, 0]] + mesh.normals[edges[chosen, 1]]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    finer = HeadMesh(
        vertices=vertices,
        triangles=triangles,
        normals=np.concatenate([mesh.normals, normals]).astype(np.float32),
        colors=np.concatenate([mesh.colors, color[chosen]]).astype(np.float32),
    )
    return finer, np.concatenate([confidence, sure[chosen]])
