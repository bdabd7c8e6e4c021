"""Points in space whose colour or side of the surface is known from exact depth pictures.

Supervising the field at points instead of through volume rendering costs a fraction of it and
gives gradients on both sides of the surface at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tpn_engine.nets.box import Box
from tpn_engine.nets.presets import HEAD_BOX
from tpn_engine.training.views import SEEN_THROUGH, WHOLLY, Pixels, Views, at_pixels

MARGIN = 0.004  # EG3D units a point must lie before the seen surface to count as empty, behind it as inside
NEAR_SPREAD = 0.025  # standard deviation of the points scattered around the surface
NEAR_SHARE, OUTLINE_SHARE = 0.5, 0.3  # of the points: around the surface, at outlines; the rest lies anywhere
OUTLINE_REACH = 0.05  # of the picture's edge, how far from an outline
OUTLINE_WIDTH = 7  # pixels, the window in which an outline's pixel has nobody
CLOSE_BEHIND = 0.02  # EG3D units behind a surface in which one view is enough to know the inside
NOT_FAR_BEHIND = 0.15  # and two views from one side
HINDMOST = -0.52  # z behind which only what is seen to be inside is: few heads reach it
BODY = -0.35  # y under which a person goes on beyond the pictures
BEYOND_BOX = 1.1
FRONT_REACH, BACK_REACH = 0.006, 0.03  # how far before and behind the surface a pixel's colour is asked for
FACE_CENTRE, FACE_RADIUS, FACE_WEIGHT = (0.0, -0.02, 0.09), 0.2, 3.0
BACK, BACK_WEIGHT = -0.1, 10.0  # z beyond which few views look


def color_points(
    views: Views, source: Tensor, source_share: float, count: int, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Points [B,count,3] on and just behind the surface, their colours [B,count,3] in [0,1] and weights [B,count].

    A share of them comes from each head's view `source` [B], the rest from the others. Face and back weigh more.
    """
    heads, number = views.alpha.shape[:2]
    shares = views.alpha.new_full((heads, number), (1 - source_share) / max(number - 1, 1))
    shares.scatter_(1, source[:, None], source_share)
    view = torch.multinomial(shares, count, replacement=True, generator=random)
    row, column, shown = Pixels(views.inner).pick(view, random)
    reach = _normal(view, random) * FRONT_REACH
    behind = _uniform(view, random) < 0.5
    reach = torch.where(behind, _exponential(view, random) * BACK_REACH, reach)
    depth = at_pixels(views.depth, view, row, column) + reach
    points = views.unproject(view, _centres(row, column, views.size), depth)
    color = at_pixels(views.rgb, view, row, column).float() / 255
    near_face = (points - points.new_tensor(FACE_CENTRE)).norm(dim=-1) < FACE_RADIUS
    weight = torch.where(points[..., 2] < BACK, BACK_WEIGHT, 1.0)
    return points, color, torch.where(near_face, FACE_WEIGHT, weight) * shown


def carve(points: Tensor, views: Views) -> tuple[Tensor, Tensor]:
    """Which points [B,N,3] are inside the head, and of which that is known, both bool [B,N].

    A point is empty if any view sees through it, or if it is in no view at all: what no picture shows must not
    grow sheets; but below, where a body goes on, nobody knows. It is inside if none sees through it (space
    carving) and the surface lies before it in views from two sides, in two views not far before it, or in one
    close before it: what is deep behind a face may as well be behind the head, and very deep surely is.
    """
    pixel, framed, depth = views.project(points)
    coverage, surface = (part.flatten(2).gather(2, pixel) for part in (views.alpha, views.depth))
    empty = (framed & ((coverage < SEEN_THROUGH) | ((coverage > WHOLLY) & (depth < surface - MARGIN)))).any(1)
    hidden = framed & (coverage > WHOLLY) & (depth > surface + MARGIN)
    close = (hidden & (depth < surface + CLOSE_BEHIND)).any(1)
    shallow = (hidden & (depth < surface + NOT_FAR_BEHIND)).any(1)
    empty = empty | (~framed.any(1) & (points[..., 1] > BODY))
    forward = views.poses[..., :3, 2]
    opposite = (forward @ forward.transpose(1, 2) < 0).float()
    two_sides = ((opposite @ hidden.float() > 0) & hidden).any(1)
    inside = ~empty & (two_sides | (shallow & (hidden.sum(1) >= 2)) | close)
    empty = empty | (~inside & (points[..., 2] < HINDMOST))
    return inside, empty | inside


def outline_points(views: Views, look: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Points [B,count,3] to either side of the outline that each head's view `look` [B] shows of it.

    Half lie just behind pixels of the outline; half beside such a pixel, mostly where the view shows nobody, as deep.
    """
    one = views.one(look)
    nobody = (one.alpha < SEEN_THROUGH).float()
    near = F.max_pool2d(nobody, OUTLINE_WIDTH, 1, OUTLINE_WIDTH // 2) > 0
    view = look.new_zeros(len(look), count)
    row, column, _ = Pixels(one.inner & near).pick(view, random)
    depth = at_pixels(one.depth, view, row, column)
    within = _uniform(view, random) < 0.5
    angle = _uniform(view, random) * (2 * torch.pi)
    away = _uniform(view, random).sqrt() * OUTLINE_REACH
    offset = torch.stack([angle.cos(), angle.sin()], dim=-1) * torch.where(within, 0.0, away)[..., None]
    start = _centres(row, column, views.size)
    beside = ((start + offset) * views.size).long().clamp(0, views.size - 1)
    covered = at_pixels(one.alpha, view, beside[..., 1], beside[..., 0]) >= SEEN_THROUGH
    # The outline is nearly straight: where one way leads into the head, the other leads out of it.
    place = (start + torch.where(covered[..., None], -offset, offset)).clamp(0, 1)
    apart = torch.where(within, _exponential(view, random) * (CLOSE_BEHIND / 2), _normal(view, random) * NEAR_SPREAD)
    return one.unproject(view, place, depth + apart)


def occupancy_points(
    views: Views, source: Tensor, count: int, random: torch.Generator, box: Box = HEAD_BOX
) -> tuple[Tensor, Tensor, Tensor]:
    """Points [B,count,3], `inside` and `known` [B,count]: around the surface, at outlines, all over the box and beyond.

    Beyond the box every point has the same features, zeros: unless those mean empty, walls stand there.
    """
    heads, number = views.alpha.shape[:2]
    device = views.alpha.device
    near_count, outline_count = int(count * NEAR_SHARE), int(count * OUTLINE_SHARE / 2)
    view = torch.randint(number, (heads, near_count), generator=random, device=device)
    row, column, _ = Pixels(views.inner).pick(view, random)
    near = views.unproject(view, _centres(row, column, views.size), at_pixels(views.depth, view, row, column))
    spread = NEAR_SPREAD * _uniform(view, random)[..., None]
    near = near + torch.randn(near.shape, generator=random, device=device) * spread
    # A photo tells its own outline: half of the points are there, half at one other view's.
    other = torch.randint(number, (heads,), generator=random, device=device)
    outlines = [outline_points(views, look, outline_count, random) for look in (source, other)]
    low, high = near.new_tensor(box.low), near.new_tensor(box.high)
    rest = count - near_count - 2 * outline_count
    anywhere = torch.rand(heads, rest, 3, generator=random, device=device) * (high - low) + low
    at = torch.cat([near, *outlines, anywhere * BEYOND_BOX], dim=1)
    inside, known = carve(at, views)
    beyond = ((at < low) | (at > high)).any(-1)
    return at, inside & ~beyond, known | beyond


def _centres(row: Tensor, column: Tensor, size: int) -> Tensor:
    """Places [...,2] in [0,1] of the centres of pixels."""
    return (torch.stack([column, row], dim=-1) + 0.5) / size


def _uniform(like: Tensor, random: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=random, device=like.device)


def _normal(like: Tensor, random: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=random, device=like.device)


def _exponential(like: Tensor, random: torch.Generator) -> Tensor:
    """Of mean one."""
    return -torch.log1p(-_uniform(like, random))
