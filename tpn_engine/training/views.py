"""Exact pictures of many heads at once, as tensors on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.labels import mirrored_label, moved_label
from tpn_engine.training.pictures import off_edges

SEEN_THROUGH, WHOLLY = 0.01, 0.99  # coverage below which a pixel shows nobody, above which nothing else
GAP = 3  # pixels, the window of gaps between strands
FAR = 1e3


@dataclass(frozen=True)
class Views:
    """V pictures of each of B heads, S x S pixels.

    `rgb` uint8 [B,V,S,S,3], not premultiplied; `alpha` float32 [B,V,S,S] in [0,1]; `depth` float32 [B,V,S,S] along the
    camera's z in EG3D units, 0 where empty; `label` float32 [B,V,25] camera labels.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    label: Tensor

    @property
    def size(self) -> int:
        """Pixels along each edge."""
        return self.alpha.shape[-1]

    def half_mirrored(self) -> Views:
        """The same with the first half of the heads seen in a mirror: pictures flipped, cameras mirrored."""
        half = len(self.label) // 2
        parts = ((self.rgb, 3), (self.alpha, 3), (self.depth, 3))
        rgb, alpha, depth = (torch.cat([part[:half].flip(axis), part[half:]]) for part, axis in parts)
        return Views(rgb, alpha, depth, torch.cat([mirrored_label(self.label[:half]), self.label[half:]]))

    def moved(self, turn: Tensor, shift: Tensor) -> Views:
        """The same heads elsewhere in the world: turned by matrices [B,3,3], then shifted by [B,3]."""
        return replace(self, label=moved_label(self.label, turn[:, None], shift[:, None]))

    def one(self, index: Tensor) -> Views:
        """Of every head one view, index [B]: [B,1,...]."""
        head = torch.arange(len(index), device=index.device)
        parts = (self.rgb, self.alpha, self.depth, self.label)
        return Views(*(part[head, index][:, None] for part in parts))

    def on_black(self) -> Tensor:
        """The pictures [B,V,S,S,3] in [0,1] over black."""
        return self.rgb / 255 * self.alpha[..., None]

    def without_gaps(self) -> Views:
        """The same with narrow gaps filled, between strands: the outline and depth of hair as a volume.

        Gaps' alpha is one half: such a pixel tells neither that a point is empty nor that it is inside. Elsewhere
        a depth becomes that of the nearest strands around it (a grey opening).
        """
        covered = self.alpha > 0.5
        depth = torch.where(covered, self.depth, FAR)
        filled = _largest(-_largest(-depth, GAP, GAP), GAP, GAP)
        gap = ~covered & (filled < FAR)
        return replace(
            self, alpha=torch.where(gap, 0.5, self.alpha), depth=torch.where(covered | gap, filled, self.depth)
        )

    def without_rim(self, index: Tensor) -> Views:
        """The same with an alpha of one half up to two pixels beside the outline of each head's view `index` [B].

        There a photo tells nothing of a point: its matte bounds the head (`nets.silhouette`), so that a surface that
        ends a little beyond the outline shows exactly the photo's, and one that ends before it doesn't.
        """
        source = self.one(index).alpha
        person = (source >= SEEN_THROUGH).float()
        # A disc of radius two.
        near = torch.maximum(_largest(person, 3, 3), torch.maximum(_largest(person, 1, 5), _largest(person, 5, 1)))
        alpha = self.alpha.clone()
        head = torch.arange(len(index), device=index.device)
        alpha[head, index] = torch.where((person == 0) & (near > 0), 0.5, source)[:, 0]
        return replace(self, alpha=alpha)

    @cached_property
    def inner(self) -> Tensor:
        """Which pixels' depth belongs to one surface: covered and far from depth edges, bool [B,V,S,S]."""
        return (self.alpha > WHOLLY) & off_edges(self.depth)

    @property
    def poses(self) -> Tensor:
        """The cameras' camera-to-world matrices [B,V,4,4]."""
        return self.label[..., :16].unflatten(-1, (4, 4))

    def unproject(self, view: Tensor, place: Tensor, depth: Tensor) -> Tensor:
        """World points [B,N,3] of places [B,N,2] in [0,1] of the views [B,N] at depths [B,N] along their z."""
        pose, intrinsics = self.poses, self._intrinsics
        rays = pose[..., :3, :3] @ torch.linalg.inv(intrinsics)
        image = torch.cat([place, torch.ones_like(place[..., :1])], dim=-1)
        head = torch.arange(len(view), device=view.device)[:, None]
        direction = torch.einsum("bnij,bnj->bni", rays[head, view], image)
        return direction * depth[..., None] + pose[..., :3, 3][head, view]

    def project(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """World points [B,N,3] in every view: flat pixel indices, whether in the picture, depth; each [B,V,N]."""
        pose, intrinsics = self.poses, self._intrinsics
        matrix = intrinsics @ pose[..., :3, :3].transpose(-1, -2)
        apart = points[:, None] - pose[..., None, :3, 3]
        image = torch.einsum("bvij,bvnj->bvni", matrix, apart)
        depth = image[..., 2]
        cell = (image[..., :2] / depth[..., None] * self.size).floor()
        framed = ((cell >= 0) & (cell < self.size)).all(-1) & (depth > 0)
        column, row = cell.nan_to_num(0).clamp(0, self.size - 1).long().unbind(-1)
        return row * self.size + column, framed, depth

    @property
    def _intrinsics(self) -> Tensor:
        return self.label[..., 16:].unflatten(-1, (3, 3))


class Pixels:
    """Random pixels of masks, bool [B,V,S,S]."""

    def __init__(self, mask: Tensor) -> None:
        self._size = mask.shape[-1]
        counts = mask.flatten(2).sum(-1)
        self._counts, self._views = counts, mask.shape[1]
        self._before = (counts.flatten().cumsum(0) - counts.flatten()).view_as(counts)
        self._running = mask.flatten().cumsum(0, dtype=torch.int32)

    def pick(self, view: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One pixel of each of the views [B,N]: row, column, and whether the view had any, each [B,N]."""
        count, before = self._counts.gather(1, view), self._before.gather(1, view)
        uniform = torch.rand(view.shape, generator=random, device=view.device)
        wanted = before + torch.minimum((uniform * count).long(), (count - 1).clamp(min=0)) + 1
        found = torch.searchsorted(self._running, wanted.to(torch.int32)).clamp(max=len(self._running) - 1)
        pixel = found % self._size**2
        return pixel // self._size, pixel % self._size, count > 0


def at_pixels(pictures: Tensor, view: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Values [B,N,...] of pictures [B,V,S,S,...] at pixels [B,N]."""
    head = torch.arange(len(view), device=view.device)[:, None]
    return pictures[head, view, row, column]


def _largest(pictures: Tensor, rows: int, columns: int) -> Tensor:
    """The largest value [B,V,S,S] in windows of odd size."""
    flat = F.max_pool2d(pictures.flatten(0, 1)[:, None], (rows, columns), 1, (rows // 2, columns // 2))
    return flat[:, 0].view_as(pictures)
