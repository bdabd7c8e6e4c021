"""Points in space whose colour or side of the surface is known from exact depth pictures.

Supervising the field at points instead of through volume rendering costs a fraction of it and
gives gradients on both sides of the surface at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
from scipy import ndimage

from tpn_engine.camera import Camera
from tpn_engine.nets.box import Box
from tpn_engine.nets.presets import HEAD_BOX

MARGIN = 0.004  # EG3D units a point must lie before the seen surface to count as empty, behind it as inside
EDGE_STEP = 0.03  # depth difference to a neighbour that marks a silhouette pixel, whose depth is a mixture
NEAR_SPREAD = 0.025  # standard deviation of the points scattered around the surface
NEAR_SHARE, OUTLINE_SHARE = 0.5, 0.3  # of the points: around the surface, at outlines; the rest lies anywhere
OUTLINE_REACH = 0.05  # of the picture's edge, how far from an outline
CLOSE_BEHIND = 0.02  # EG3D units behind a surface in which one view is enough to know the inside
NOT_FAR_BEHIND = 0.15  # and two views from one side
HINDMOST = -0.52  # z behind which only what is seen to be inside is: few heads reach it
BODY = -0.35  # y under which a person goes on beyond the pictures
BEYOND_BOX = 1.1
GAP = 3  # pixels, the window of gaps between strands
RIM = 2  # pixels beside a photo's outline
FAR = 1e3
FRONT_REACH, BACK_REACH = 0.006, 0.03  # how far before and behind the surface a pixel's colour is asked for
FACE_CENTRE, FACE_RADIUS, FACE_WEIGHT = np.array([0.0, -0.02, 0.09]), 0.2, 3.0
BACK, BACK_WEIGHT = -0.1, 10.0  # z beyond which few views look


@dataclass(frozen=True)
class PixelView:
    """One exact picture of S x S pixels: `rgb` uint8 [S,S,3], `alpha` float32 in [0,1], `depth` float32."""

    rgb: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    camera: Camera

    def on_black(self) -> np.ndarray:
        """The picture [S,S,3] in [0,1] over black."""
        return self.rgb / np.float32(255) * self.alpha[..., None]

    def without_gaps(self) -> PixelView:
        """The same with narrow gaps filled, between strands: the outline and depth of hair as a volume.

        Gaps' alpha is one half: such a pixel tells neither that a point is empty nor that it is inside. Elsewhere
        a depth becomes that of the nearest strands around it (a grey opening).
        """
        covered = self.alpha > 0.5
        depth = np.where(covered, self.depth, FAR).astype(np.float32)
        filled = ndimage.grey_opening(depth, size=(GAP, GAP))
        gap = ~covered & (filled < FAR)
        alpha = np.where(gap, 0.5, self.alpha).astype(np.float32)
        return replace(self, alpha=alpha, depth=np.where(covered | gap, filled, self.depth))

    def without_rim(self) -> PixelView:
        """The same with an alpha of one half just beside the outline, where it tells nothing of a point.

        A photo's matte bounds the head (`nets.silhouette`): a surface that ends a little beyond the outline shows
        exactly the photo's, one that ends before it doesn't.
        """
        beyond = np.asarray(ndimage.distance_transform_edt(self.alpha < 0.01))
        rim = (beyond > 0) & (beyond <= RIM)
        return replace(self, alpha=np.where(rim, np.float32(0.5), self.alpha))

    @cached_property
    def inner(self) -> np.ndarray:
        """Flat indices of pixels whose depth belongs to one surface: covered and far from depth edges."""
        return np.flatnonzero((self.alpha > 0.99) & off_edges(self.depth))

    def pick(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of `count` random inner pixels; none where the view shows nothing."""
        if not len(self.inner):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.divmod(rng.choice(self.inner, count), self.alpha.shape[1])


def off_edges(depth: np.ndarray) -> np.ndarray:
    """Which pixels of a depth picture [S,S] lie on the same surface as their neighbours, bool [S,S]."""
    smooth = np.ones(depth.shape, bool)
    down = np.abs(np.diff(depth, axis=0)) > EDGE_STEP
    across = np.abs(np.diff(depth, axis=1)) > EDGE_STEP
    smooth[:-1] &= ~down
    smooth[1:] &= ~down
    smooth[:, :-1] &= ~across
    smooth[:, 1:] &= ~across
    return smooth


def unproject(camera: Camera, rows: np.ndarray, columns: np.ndarray, depth: np.ndarray, size: int) -> np.ndarray:
    """World points [N,3] of pixel centres at the given depths along the camera's z."""
    inverse = np.linalg.inv(camera.intrinsics.astype(np.float64))
    image = np.stack([(columns + 0.5) / size, (rows + 0.5) / size, np.ones_like(depth)], axis=1)
    return (image @ inverse.T) * depth[:, None] @ camera.pose[:3, :3].T.astype(np.float64) + camera.position


def color_points(
    views: Sequence[PixelView], source: int, source_share: float, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [count,3] on and just behind the surface, their colours [count,3] and weights [count].

    A share of them comes from the source view, the rest from the others. Face and back weigh more.
    """
    shares = np.full(len(views), (1 - source_share) / max(len(views) - 1, 1))
    shares[source] = source_share
    points, colors = [], []
    for view, wanted in zip(views, rng.multinomial(count, shares / shares.sum()), strict=True):
        rows, columns = view.pick(wanted, rng)
        reach = rng.normal(0, FRONT_REACH, len(rows))
        behind = rng.random(len(rows)) < 0.5
        reach[behind] = rng.exponential(BACK_REACH, behind.sum())
        points.append(unproject(view.camera, rows, columns, view.depth[rows, columns] + reach, len(view.alpha)))
        colors.append(view.rgb[rows, columns] / np.float32(255))
    at, color = np.concatenate(points), np.concatenate(colors)
    missing = count - len(at)
    near_face = np.linalg.norm(at - FACE_CENTRE, axis=1) < FACE_RADIUS
    weight = np.where(near_face, FACE_WEIGHT, np.where(at[:, 2] < BACK, BACK_WEIGHT, 1.0))
    pad = ((0, missing), (0, 0))
    return np.pad(at, pad), np.pad(color, pad), np.pad(weight, (0, missing))


def carve(points: np.ndarray, views: Sequence[PixelView]) -> tuple[np.ndarray, np.ndarray]:
    """Which points [N,3] are inside the head, and of which that is known, both bool [N].

    A point is empty if any view sees through it, or if it is in no view at all: what no picture shows must not
    grow sheets; but below, where a body goes on, nobody knows. It is inside if none sees through it (space
    carving) and the surface lies before it in views from two sides, in two views not far before it, or in one
    close before it: what is deep behind a face may as well be behind the head, and very deep surely is.
    """
    empty = np.zeros(len(points), bool)
    framed = np.zeros(len(points), bool)
    hidden = np.zeros((len(views), len(points)), bool)
    close, shallow = np.zeros(len(points), bool), np.zeros(len(points), bool)
    for number, view in enumerate(views):
        size = len(view.alpha)
        image = view.camera.project(points)
        column = np.floor(image[:, 0] * size).astype(np.int64)
        row = np.floor(image[:, 1] * size).astype(np.int64)
        seen = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        framed |= seen
        row, column = row.clip(0, size - 1), column.clip(0, size - 1)
        coverage, surface = view.alpha[row, column], view.depth[row, column]
        empty |= seen & ((coverage < 0.01) | ((coverage > 0.99) & (image[:, 2] < surface - MARGIN)))
        hidden[number] = seen & (coverage > 0.99) & (image[:, 2] > surface + MARGIN)
        close |= hidden[number] & (image[:, 2] < surface + CLOSE_BEHIND)
        shallow |= hidden[number] & (image[:, 2] < surface + NOT_FAR_BEHIND)
    empty |= ~framed & (points[:, 1] > BODY)
    forward = np.stack([view.camera.pose[:3, 2] for view in views])
    two_sides = np.zeros(len(points), bool)
    for first, second in np.argwhere(np.triu(forward @ forward.T < 0)):
        two_sides |= hidden[first] & hidden[second]
    inside = ~empty & (two_sides | (shallow & (hidden.sum(0) >= 2)) | close)
    empty |= ~inside & (points[:, 2] < HINDMOST)
    return inside, empty | inside


def outline_points(view: PixelView, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points [up to count,3] to either side of the outline that the view shows of the head.

    Half lie where it shows nobody, as deep as the nearest pixel of the head; half just behind such pixels.
    """
    size = len(view.alpha)
    apart = np.ones(view.alpha.size, bool)
    apart[view.inner] = False
    if apart.all():
        return np.zeros((0, 3))
    apart = apart.reshape(size, size)
    found = ndimage.distance_transform_edt(apart, return_indices=True)
    distance, nearest = cast(tuple[np.ndarray, np.ndarray], found)
    beside = np.flatnonzero((view.alpha < 0.01) & (distance < OUTLINE_REACH * size))
    if not len(beside):
        return np.zeros((0, 3))
    row, column = np.divmod(rng.choice(beside, count), size)
    near_row, near_column = nearest[:, row, column]
    depth = view.depth[near_row, near_column]
    within = rng.random(count) < 0.5
    row, column = np.where(within, near_row, row), np.where(within, near_column, column)
    depth = depth + np.where(within, rng.exponential(CLOSE_BEHIND / 2, count), rng.normal(0, NEAR_SPREAD, count))
    return unproject(view.camera, row, column, depth, size)


def occupancy_points(
    views: Sequence[PixelView], source: int, count: int, rng: np.random.Generator, box: Box = HEAD_BOX
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points [count,3] with `inside` and `known` [count]: around the surface, at outlines, all over the box and beyond.

    Beyond the box every point has the same features, zeros: unless those mean empty, walls stand there.
    """
    points = []
    for view, wanted in zip(
        views, rng.multinomial(int(count * NEAR_SHARE), [1 / len(views)] * len(views)), strict=True
    ):
        rows, columns = view.pick(wanted, rng)
        points.append(unproject(view.camera, rows, columns, view.depth[rows, columns], len(view.alpha)))
    near = np.concatenate(points)
    near = near + rng.normal(0, NEAR_SPREAD, near.shape) * rng.random((len(near), 1))
    # A photo tells its own outline: half of the points are there, half at one other view's.
    looks = (source, int(rng.integers(len(views))))
    outline = np.concatenate([outline_points(views[look], int(count * OUTLINE_SHARE / 2), rng) for look in looks])
    near = np.concatenate([near, outline])
    low, high = np.array(box.low), np.array(box.high)
    anywhere = rng.uniform(low * BEYOND_BOX, high * BEYOND_BOX, (count - len(near), 3))
    at = np.concatenate([near, anywhere])
    inside, known = carve(at, views)
    beyond = ((at < low) | (at > high)).any(1)
    return at, inside & ~beyond, known | beyond
