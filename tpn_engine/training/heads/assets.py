"""The head assets: base mesh, shape targets, face modes, fitted parts, textures and masks.

The assets are no part of this project: their folder is given by path. What it holds, and under
which licences, is said in README.md beside this file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.ndimage import gaussian_filter, maximum_filter

from tpn_engine.errors import FileError
from tpn_engine.training.heads.geometry import quads_to_triangles
from tpn_engine.training.heads.subdivision import catmull_clark, refine_corners

ATLAS_WIDTH, ATLAS_HEIGHT = 768, 2032  # texels: the head above, the body below at a lower resolution
HEAD_ROWS = 1392
MAKEHUMAN_ATLAS = 2048  # the texels of MakeHuman's square skin layout that the atlas was cut from
LID_MIDDLE = 0.03  # decimetres beside the pupil within which a lid's middle is looked for
EYEBALL, RIM_POINTS = 0.15, 120  # the eyeball's radius in decimetres; vertices of the lids on it
PAINTED_ON_POINTS = ("scalp", "brow", "beard", "goatee", "moustache")  # masks that hair grows by
# The drawn brow mask lies higher than brows do, and ends as if cut; the atlas's columns run down the face.
BROW_DROP, BROW_SOFTNESS = 8, 2.0  # texels
BROW_REACH = 31  # texels: a brow is thinner than the skin's triangles, so those around it carry hairs too


@dataclass(frozen=True)
class MorphTargets:
    """MakeHuman's shape targets: sparse offsets of base vertices, in decimetres."""

    offsets: dict[str, tuple[np.ndarray, np.ndarray]]  # name -> vertex indices [K], offsets [K,3]

    def add(self, name: str, weight: float, vertices: np.ndarray) -> None:
        """Add `weight` times a target to `vertices` [V,3] in place."""
        index, offset = self.offsets[name]
        vertices[index] += weight * offset


@dataclass(frozen=True)
class FaceModes:
    """ICT-FaceKit's modes carried onto the base mesh, in decimetres.

    `identity` [60,V,3] principal modes with unit-normal coefficients, `mean` [V,3] the offset to
    the mean face, `inner` [V,3] what keeps the inside of the mouth and the eye sockets in place,
    `expression` [57,V,3] named by `expression_names`.
    """

    identity: np.ndarray
    mean: np.ndarray
    inner: np.ndarray
    expression: np.ndarray
    expression_names: tuple[str, ...]


@dataclass(frozen=True)
class Proxy:
    """A part fitted to the base mesh by MakeHuman's binding: eyes, teeth, lashes, hair cards.

    Each of its points follows three base vertices with weights, plus an offset that scales with
    the distance between two base vertices along each axis. `point` [N] and `uv` [N,2] make the
    textured vertices that `triangles` [T,3] index.
    """

    point: np.ndarray
    uv: np.ndarray
    triangles: np.ndarray
    anchors: np.ndarray
    weights: np.ndarray
    offset: np.ndarray
    scale: tuple[tuple[int, int, int, float], ...]  # axis, base vertex, base vertex, their distance at rest

    @cached_property
    def point_triangles(self) -> np.ndarray:
        """The triangles as indices of points, without texture seams, [T,3]."""
        return self.point[self.triangles]

    def fit(self, base: np.ndarray) -> np.ndarray:
        """Where the points are for base vertices [V,3], [P,3]."""
        scale = np.ones(3)
        for axis, i, j, rest in self.scale:
            scale[axis] = abs(base[i, axis] - base[j, axis]) / rest
        return (base[self.anchors] * self.weights[..., None]).sum(1) + self.offset * scale


@dataclass(frozen=True)
class SkinLayout:
    """The subdivided skin: how its points follow the base mesh, and its textured vertices.

    `subdivision` [P,V]; `triangles` [T,3] index points. `point` [N], `atlas_uv` [N,2] and
    `body_uv` [N,2] (MakeHuman's own layout) make the textured vertices, `textured_triangles` [T,3].
    `at_points` holds masks sampled at the points, [P] in [0,1], the brows' widened; `rest` [P,3] are the
    points of the base mesh.
    """

    subdivision: sparse.csr_matrix
    triangles: np.ndarray
    point: np.ndarray
    atlas_uv: np.ndarray
    body_uv: np.ndarray
    textured_triangles: np.ndarray
    at_points: dict[str, np.ndarray]
    rest: np.ndarray


class Textures:
    """The pictures of the assets by name, decoded when first asked for: uint8 [H,W,3 or 4]."""

    def __init__(self, folder: Path):
        self._paths = {path.stem: path for path in sorted(folder.iterdir(), key=lambda path: path.stem)}
        self._decoded: dict[str, np.ndarray] = {}
        self._luminance: dict[str, float] = {}

    def names(self, prefix: str) -> list[str]:
        """All names that start with `prefix`, sorted."""
        return [name for name in self._paths if name.startswith(prefix)]

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._decoded:
            path = self._paths[name]
            with Image.open(path) as image:
                picture = np.asarray(image.convert("RGB" if path.suffix == ".jpg" else "RGBA"))
            self._decoded[name] = flatten_hair(picture) if name.startswith("hair_") else picture
        return self._decoded[name]

    def luminance(self, name: str) -> float:
        """The median luminance in [0,1] of the opaque texels of a picture with alpha."""
        if name not in self._luminance:
            texels = self[name]
            opaque = texels[..., 3] > 128
            self._luminance[name] = float(np.median((texels[..., :3] @ np.array([0.3, 0.59, 0.11]))[opaque]) / 255)
        return self._luminance[name]


@dataclass(frozen=True)
class HeadAssets:
    """Everything that random heads are made from; lengths in decimetres, x the subject's left, y up."""

    base: np.ndarray  # [V,3] MakeHuman's base head
    targets: MorphTargets
    modes: FaceModes
    skin: SkinLayout
    proxies: dict[str, Proxy]
    textures: Textures
    masks: dict[str, np.ndarray]  # uint8 [ATLAS_HEIGHT,ATLAS_WIDTH]: face, scalp, lips, beard ...
    eyes: tuple[np.ndarray, np.ndarray]  # base vertices around the right and the left eyeball
    rims: tuple[np.ndarray, np.ndarray]  # base vertices of right and left lids' rims, which lie on the eyeball
    lids: tuple[tuple[int, int], tuple[int, int]]  # base vertices: middle of right and left upper lid, and below it
    lobes: tuple[int, int]  # base vertices: the lowest of the right and of the left earlobe
    landmarks: tuple[int, int, int]  # base vertices: tip of the nose, right and left corner of the mouth

    @classmethod
    def load(cls, folder: Path) -> HeadAssets:
        """Read the assets; raises FileError when something is missing or damaged."""
        try:
            makehuman = dict(np.load(folder / "mh.npz"))
            modes = dict(np.load(folder / "ict_mh.npz"))
            masks = dict(np.load(folder / "masks.npz"))
            masks["brow"] = gaussian_filter(np.roll(masks["brow"], BROW_DROP, axis=1), BROW_SOFTNESS)
            textures = Textures(folder / "tex")
            base = makehuman["verts"].astype(np.float64)
            face_modes = _modes(modes)
            on_skin = np.unique(makehuman["body_faces"])
            eyes = (makehuman["joint-r-eye"].astype(int), makehuman["joint-l-eye"].astype(int))
            targets = _targets(makehuman)
            return cls(
                base=base,
                targets=targets,
                modes=face_modes,
                skin=_skin(makehuman, base, masks),
                proxies=_proxies(makehuman),
                textures=textures,
                masks=masks,
                eyes=eyes,
                rims=(_rim(face_modes, base, on_skin, eyes[0]), _rim(face_modes, base, on_skin, eyes[1])),
                lids=(_lid(face_modes, base, on_skin, eyes[0], "R"), _lid(face_modes, base, on_skin, eyes[1], "L")),
                lobes=(_lobe(targets, base, "r"), _lobe(targets, base, "l")),
                landmarks=_landmark_vertices(base, on_skin),
            )
        except (OSError, KeyError, ValueError) as error:
            raise FileError(
                f"{folder} does not hold the head assets ({error}): see tpn_engine/training/heads/README.md."
            ) from error

    def proxy_names(self, prefix: str) -> list[str]:
        """All fitted parts whose name starts with `prefix`, in the assets' order."""
        return [name for name in self.proxies if name.startswith(prefix)]

    def eye_centres(self, base: np.ndarray) -> np.ndarray:
        """The middle of the right and of the left eyeball, [2,3]."""
        return np.stack([base[vertices].mean(0) for vertices in self.eyes])

    def five_points(self, base: np.ndarray) -> np.ndarray:
        """Right eye, left eye, nose, right and left corner of the mouth on the skin, [5,3]."""
        on_cornea = self.eye_centres(base) + np.array([0, 0, 0.10])
        return np.concatenate([on_cornea, base[list(self.landmarks)]])


def atlas_coordinates(uv: np.ndarray) -> np.ndarray:
    """MakeHuman's skin coordinates [N,2] to the atlas's: the head cut out, the body scaled down below it."""
    x, y = uv[:, 0] * MAKEHUMAN_ATLAS, (1 - uv[:, 1]) * MAKEHUMAN_ATLAS
    head = (uv[:, 0] > 0.6) & (y < 1748) & (x > 1280)
    body_scale = (ATLAS_HEIGHT - HEAD_ROWS) / MAKEHUMAN_ATLAS
    u = np.where(head, x - 1280, x * body_scale) / ATLAS_WIDTH
    v = np.where(head, y - 356, HEAD_ROWS + y * body_scale) / ATLAS_HEIGHT
    return np.stack([u, 1 - v], 1)


def texels_at(atlas_uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the atlas's texel at coordinates [N,2], each [N]."""
    column = np.clip((atlas_uv[:, 0] * ATLAS_WIDTH).astype(int), 0, ATLAS_WIDTH - 1)
    row = np.clip(((1 - atlas_uv[:, 1]) * ATLAS_HEIGHT).astype(int), 0, ATLAS_HEIGHT - 1)
    return row, column


def flatten_hair(texture: np.ndarray) -> np.ndarray:
    """A hair picture [H,W,4] as grey of even brightness, so that any hair colour can be laid over it."""
    alpha = texture[..., 3].astype(np.float32) / 255
    grey = texture[..., 0].astype(np.float32)
    radius = len(texture) / 24
    around = gaussian_filter(grey * alpha, radius) / np.maximum(gaussian_filter(alpha, radius), 0.02)
    even = np.median(grey[alpha > 0.5]) * np.power(np.clip((grey + 6) / (around + 6), 0.1, 3), 0.9)
    flat = texture.copy()
    flat[..., :3] = np.clip(even, 0, 255).astype(np.uint8)[..., None]
    return flat


def _targets(makehuman: dict[str, np.ndarray]) -> MorphTargets:
    bounds = makehuman["t_ptr"]
    index, offset = makehuman["t_idx"].astype(int), makehuman["t_delta"].astype(np.float64)
    pieces = [slice(bounds[i], bounds[i + 1]) for i in range(len(bounds) - 1)]
    names = [str(name) for name in makehuman["t_names"]]
    return MorphTargets({name: (index[piece], offset[piece]) for name, piece in zip(names, pieces, strict=True)})


def _modes(modes: dict[str, np.ndarray]) -> FaceModes:
    return FaceModes(
        identity=modes["identity"].astype(np.float64),
        mean=modes["mean_delta"],
        inner=modes["inner_off"],
        expression=modes["expression"].astype(np.float32),
        expression_names=tuple(str(name) for name in modes["expression_names"]),
    )


def _skin(makehuman: dict[str, np.ndarray], base: np.ndarray, masks: dict[str, np.ndarray]) -> SkinLayout:
    fine = catmull_clark(makehuman["body_faces"], len(base))
    uv = refine_corners(makehuman["body_uv"][makehuman["body_faces_uv"].astype(int)].astype(np.float64)).reshape(-1, 2)
    key = np.concatenate([fine.quads.reshape(-1, 1), np.round(uv * 65536).astype(np.int64)], 1)
    vertices, first, corner = np.unique(key, axis=0, return_index=True, return_inverse=True)
    point = vertices[:, 0]
    textured = quads_to_triangles(corner.reshape(-1, 4))
    atlas_uv = atlas_coordinates(uv[first]).astype(np.float32)
    row, column = texels_at(atlas_uv)
    rest = fine.matrix @ base
    at_points = {}
    for name in PAINTED_ON_POINTS:
        at_points[name] = np.zeros(len(rest))
        mask = maximum_filter(masks[name], BROW_REACH) if name == "brow" else masks[name]
        at_points[name][point] = mask[row, column].astype(np.float32) / 255
    return SkinLayout(fine.matrix, point[textured], point, atlas_uv, uv[first], textured, at_points, rest)


def _proxies(makehuman: dict[str, np.ndarray]) -> dict[str, Proxy]:
    return {name: _proxy(makehuman, name, about["scale"]) for name, about in json.loads(str(makehuman["meta"])).items()}


def _proxy(makehuman: dict[str, np.ndarray], name: str, scale: dict[str, tuple[int, int, float]]) -> Proxy:
    def part(key: str) -> np.ndarray:
        return makehuman[f"px_{name}_{key}"]

    key = np.stack([part("faces").astype(int).ravel(), part("faces_uv").astype(int).ravel()], 1)
    vertices, corner = np.unique(key, axis=0, return_inverse=True)
    uv = part("uv")[vertices[:, 1]].astype(np.float32)
    quads = corner.reshape(-1, 4)
    if name == "eyes":
        # The lower right of the eye picture belongs to the clear cornea, which would cover the iris.
        cornea = (uv[quads][:, :, 0].min(1) > 0.85) & (uv[quads][:, :, 1].max(1) < 0.15)
        quads = quads[~cornea]
    return Proxy(
        point=vertices[:, 0],
        uv=uv,
        triangles=quads_to_triangles(quads),
        anchors=part("idx").astype(int),
        weights=part("w"),
        offset=part("off"),
        scale=tuple(("xyz".index(axis), i, j, rest) for axis, (i, j, rest) in scale.items()),
    )


def _lobe(targets: MorphTargets, base: np.ndarray, side: str) -> int:
    moved, _ = targets.offsets[f"ears/{side}-ear-lobe-incr"]
    return int(moved[base[moved, 1].argmin()])


def _rim(modes: FaceModes, base: np.ndarray, on_skin: np.ndarray, eye: np.ndarray) -> np.ndarray:
    """The vertices of the lids that touch the eyeball in front."""
    face = base + modes.mean + modes.inner
    from_centre = face[on_skin] - face[eye].mean(0)
    in_front = from_centre[:, 2] > EYEBALL / 2
    off = np.abs(np.linalg.norm(from_centre, axis=1) - EYEBALL)
    return on_skin[np.argsort(np.where(in_front, off, np.inf), kind="stable")[:RIM_POINTS]]


def _lid(modes: FaceModes, base: np.ndarray, on_skin: np.ndarray, eye: np.ndarray, side: str) -> tuple[int, int]:
    """The vertex in the middle of the upper lid, and the one that it meets when the eye is shut."""
    face = base + modes.mean + modes.inner
    offset = modes.expression[modes.expression_names.index("eyeBlink_" + side)]
    aside = (base[on_skin, 0] - base[eye, 0].mean()) / LID_MIDDLE
    upper = int(on_skin[(offset[on_skin, 1] * np.exp(-(aside**2))).argmin()])
    still = on_skin[np.abs(offset[on_skin, 1]) < 0.25 * np.abs(offset[upper, 1])]
    shut = face[upper] + offset[upper]
    return upper, int(still[np.linalg.norm(face[still] - shut, axis=1).argmin()])


def _landmark_vertices(base: np.ndarray, on_skin: np.ndarray) -> tuple[int, int, int]:
    corners = ([-0.267, 6.609, 1.415], [0.267, 6.609, 1.415])
    mouth_right, mouth_left = (int(np.linalg.norm(base - corner, axis=1).argmin()) for corner in corners)
    middle = on_skin[np.abs(base[on_skin, 0]) < 0.02]
    nose = middle[(base[middle, 1] > 6.7) & (base[middle, 1] < 7.3)]
    return int(nose[np.argmax(base[nose, 2])]), mouth_right, mouth_left
