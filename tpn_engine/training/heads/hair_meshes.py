"""The meshes of hair: cards, strands, brows and beards."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tpn_engine.training.heads.assets import HeadAssets, texels_at
from tpn_engine.training.heads.body_meshes import proxy_mesh
from tpn_engine.training.heads.facial_hair import grow_beard, grow_brows
from tpn_engine.training.heads.figure import Figure, Shadows
from tpn_engine.training.heads.geometry import SurfacePoints, perpendicular, sample_surface, unit, vertex_normals
from tpn_engine.training.heads.mesh import Look, Mesh, Surface, linear_color
from tpn_engine.training.heads.parameters import HeadParameters, brow_color
from tpn_engine.training.heads.ribbons import Ribbons, along_ribbons, make_ribbons
from tpn_engine.training.heads.scalp_hair import SKULL_CENTRE, ScalpHair, grow_scalp_hair
from tpn_engine.training.heads.transfer import light_transfer

LOWEST = -0.52  # EG3D units; hair below the box needs no triangles
CARD_CENTRE = np.array([0, 0.10, -0.03])  # what the normals of hair cards point away from
BROW_CENTRE, BEARD_CENTRE = np.array([0, 0.08, 0.0]), np.array([0, -0.05, 0.0])
WHITE = np.full((2, 2, 4), 255, np.uint8)
LONG_BEARD = 0.02  # EG3D units; shorter beards stay within the head's outline, where hairs can be blended


@dataclass(frozen=True)
class Strands:
    """Hair grown on the scalp, as ribbons, with the random shade of each strand already in them."""

    hair: ScalpHair
    ribbons: Ribbons
    guide_ribbons: Ribbons


@dataclass(frozen=True)
class Cards:
    """Hair cards on the neutral head: `points` [P,3] in EG3D units, and which of their triangles are `kept` [T]."""

    points: np.ndarray
    kept: np.ndarray


def fit_cards(assets: HeadAssets, head: HeadParameters, figure: Figure) -> Cards:
    """The head's set of hair cards where it belongs."""
    proxy = assets.proxies[head.hair]
    points = figure.to_world(proxy.fit(figure.neutral))
    if head.hair_mirrored:
        points = points * np.array([-1, 1, 1.0])
    return Cards(points, _above(points, proxy.point_triangles))


def card_mesh(assets: HeadAssets, head: HeadParameters, cards: Cards, shadows: Shadows) -> Mesh:
    """Hair cards; their normals lean away from the head, so that the hair is lit as one body."""
    proxy, points = assets.proxies[head.hair], cards.points
    away = unit(points - CARD_CENTRE)
    normals = vertex_normals(points, proxy.point_triangles)
    inward = (normals * away).sum(1, keepdims=True) < 0
    normals = unit(np.where(inward, -normals, normals) + away)
    transfer = light_transfer(shadows.softened(0.55), points, normals, directions=32, offset=0.012)
    look = Look(
        tint=linear_color(head.hair_color),
        root_tint=linear_color(head.hair_color * 0.35),
        luminance=assets.textures.luminance(head.hair),
        specular=0.8,
    )
    mesh = proxy_mesh(proxy, points, normals, transfer, assets.textures[head.hair], "hair_card", look)
    down = perpendicular(np.array([0, -1, 0.0]), normals)
    tangents = np.concatenate([down, np.zeros((len(down), 1))], 1)
    return replace(mesh, triangles=proxy.triangles[cards.kept], tangents=tangents[proxy.point])


def grow_strands(assets: HeadAssets, head: HeadParameters, figure: Figure) -> Strands:
    """Scalp hair of the head's style, with ribbons for the picture and coarse ones for shadows."""
    rng = head.rng("hair")
    hair = grow_scalp_hair(figure.neutral_skin, assets.skin.at_points["scalp"], head.hairstyle, rng)
    own = rng.normal(0, 0.13, hair.strands.shape[1])
    of_guides = rng.normal(0, 0.10, hair.guides.shape[1])
    plain = np.zeros(hair.guides.shape[1])
    guide_ribbons = make_ribbons(hair.guides, plain, SKULL_CENTRE, rng, width=0.016, taper=0.8)
    width = hair.fineness * (0.0022 if head.hairstyle.kind == "buzz" else 0.0038)
    ribbons = make_ribbons(hair.strands, own + of_guides[hair.guide], SKULL_CENTRE, rng, width=width)
    return Strands(hair, ribbons, guide_ribbons)


def strand_mesh(head: HeadParameters, strands: Strands, shadows: Shadows) -> Mesh:
    """The scalp's strands, lit as their guides."""
    guides = strands.hair.guides
    away = unit(guides - SKULL_CENTRE).reshape(-1, 3)
    transfer = light_transfer(shadows.softened(0.62), guides.reshape(-1, 3), away, directions=32, offset=0.014).reshape(
        *guides.shape[:2], 9
    )
    mesh = _ribbon_mesh(
        strands.ribbons,
        along_ribbons(transfer[:, strands.hair.guide]),
        Look(tint=linear_color(head.hair_color), root_tint=linear_color(head.hair_color * 0.45), specular=0.9),
    )
    return replace(mesh, triangles=mesh.triangles[_above(mesh.positions, mesh.triangles)])


def brow_mesh(assets: HeadAssets, head: HeadParameters, figure: Figure, shadows: Shadows) -> Mesh:
    """Grown brows: fine hairs blended over the skin."""
    rng = head.rng("brows")
    hairs = grow_brows(figure.skin, plant_brows(assets, figure.skin, head.brows.hairs, rng), head.brows.length, rng)
    ribbons = make_ribbons(hairs, np.zeros(hairs.shape[1]), BROW_CENTRE, rng, width=0.0014, taper=0.4)
    look = Look(tint=linear_color(brow_color(head)), opacity=0.5)
    return _soft_mesh(ribbons, _transfer_at_roots(hairs, figure.skin, shadows), look)


def plant_brows(assets: HeadAssets, skin: Surface, count: int, rng: np.random.Generator) -> SurfacePoints:
    """About `count` roots where the brow is painted: the atlas is finer than the skin's triangles."""
    layout, mask = assets.skin, assets.masks["brow"]
    planted = sample_surface(skin.points, skin.triangles, layout.at_points["brow"], 4 * count, rng)
    painted = mask[texels_at(planted.of(layout.atlas_uv, layout.textured_triangles))] / 255
    kept = rng.random(len(painted)) < painted
    return SurfacePoints(planted.triangle[kept], planted.barycentric[kept])


def beard_mesh(assets: HeadAssets, head: HeadParameters, figure: Figure, shadows: Shadows) -> Mesh:
    """A grown beard."""
    rng = head.rng("beard")
    density = assets.skin.at_points[head.beard.area]
    hairs = grow_beard(figure.skin, density, head.beard.fullness, head.beard.length, rng)
    shade = rng.normal(0, 0.15, hairs.shape[1])
    ribbons = make_ribbons(hairs, shade, BEARD_CENTRE, rng, width=0.0018, taper=0.4)
    transfer = 0.9 * _transfer_at_roots(hairs, figure.skin, shadows)
    color = head.hair_color
    if head.beard.length < LONG_BEARD:
        return _soft_mesh(ribbons, transfer, Look(tint=linear_color(color * 0.6), opacity=0.6))
    look = Look(tint=linear_color(color * 0.8), root_tint=linear_color(color * 0.35), specular=0.4)
    return _ribbon_mesh(ribbons, transfer, look)


def _above(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Which triangles don't reach below the box, [T] bool."""
    return points[:, 1][triangles].min(1) > LOWEST


def _transfer_at_roots(hairs: np.ndarray, skin: Surface, shadows: Shadows) -> np.ndarray:
    """Short hairs [K,n,3] are lit as the skin at their roots: [2nK,9] for their ribbons."""
    nearest = skin.nearest(hairs[0])
    return np.repeat(shadows.on_skin[nearest], 2 * len(hairs), axis=0)


def _soft_mesh(ribbons: Ribbons, transfer: np.ndarray, look: Look) -> Mesh:
    """Ribbons that are blended over what they lie on, in one colour."""
    return Mesh(
        positions=ribbons.positions,
        normals=ribbons.normals,
        uv=ribbons.uv,
        transfer=transfer,
        triangles=ribbons.triangles,
        texture=WHITE,
        material="decal",
        look=look,
    )


def _ribbon_mesh(ribbons: Ribbons, transfer: np.ndarray, look: Look) -> Mesh:
    return Mesh(
        positions=ribbons.positions,
        normals=ribbons.normals,
        uv=ribbons.uv,
        transfer=transfer,
        triangles=ribbons.triangles,
        texture=WHITE,
        material="strand",
        look=look,
        tangents=ribbons.tangents,
    )
