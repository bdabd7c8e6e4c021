"""The meshes of glasses, headwear and earrings."""

from __future__ import annotations

import numpy as np

from tpn_engine.training.heads.accessories import Earrings, Glasses, Headwear
from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.heads.figure import Figure, Shadows
from tpn_engine.training.heads.glasses import glasses_shape
from tpn_engine.training.heads.mesh import Color, Look, Mesh
from tpn_engine.training.heads.shapes import Shape, join, sphere, tube
from tpn_engine.training.heads.transfer import light_transfer

WHITE = np.full((2, 2, 3), 255, np.uint8)
SUNGLASS: Color = (0.012, 0.011, 0.010)
PIERCING = 0.008  # EG3D units above the lobe's lowest point
KNIT_SIZE, KNIT_RIBS = 64, 8  # texels of the knitted tile, and ribs in it


def glasses_meshes(assets: HeadAssets, glasses: Glasses, figure: Figure, shadows: Shadows) -> list[Mesh]:
    """The frame, and the lenses where they are dark: clear ones can't be told from nothing."""
    eyes = figure.to_world(assets.eye_centres(figure.neutral))
    frame, lenses = glasses_shape(glasses, eyes, figure.skin)
    meshes = [solid_mesh(frame, Look(tint=glasses.color, roughness=0.28), shadows)]
    if glasses.dark:
        meshes.append(solid_mesh(lenses, Look(tint=SUNGLASS, roughness=0.12), shadows))
    return meshes


def earrings_mesh(assets: HeadAssets, earrings: Earrings, figure: Figure, shadows: Shadows) -> Mesh:
    """One at each lobe."""
    shapes = []
    for lobe in figure.to_world(figure.base[list(assets.lobes)]) + np.array([0, PIERCING, 0]):
        outward = np.array([np.sign(lobe[0]), 0, 0])
        if earrings.kind == "stud":
            shapes.append(sphere(lobe + 0.5 * earrings.size * outward, earrings.size))
        else:
            angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
            ring = np.stack([0 * angle, np.cos(angle) - 1, np.sin(angle)], 1) * earrings.size
            shapes.append(tube(lobe + 0.004 * outward + ring, 0.0025, closed=True))
    return solid_mesh(join(shapes), Look(tint=earrings.color, roughness=0.2), shadows)


def headwear_mesh(headwear: Headwear, shell: Shape, shadows: Shadows) -> Mesh:
    """A cap or scarf whose `shell` (headwear.py) is known; the skin alone shadows it."""
    transfer = light_transfer([shadows.skin], shell.points, shell.normals, directions=32, offset=0.012)
    return Mesh(
        positions=shell.points,
        normals=shell.normals,
        uv=shell.uv,
        transfer=transfer,
        triangles=shell.triangles,
        texture=knit(headwear),
        material="cloth",
        look=Look(roughness=0.85, specular=0.25, bump=0.004 if headwear.kind == "cap" else 0.0),
    )


def knit(headwear: Headwear) -> np.ndarray:
    """A tile of ribs, or of plain cloth for a scarf, perhaps striped: uint8 [S,S,3] sRGB."""
    across = np.arange(KNIT_SIZE) * (2 * np.pi * KNIT_RIBS / KNIT_SIZE)
    ribs = 1 + (0.12 if headwear.kind == "cap" else 0.0) * np.sin(across)[None, :, None]
    stripes = np.where(np.arange(KNIT_SIZE) % 32 < 16, 1.0, headwear.stripe)[:, None, None]
    tile = np.asarray(headwear.color) ** (1 / 2.2) * ribs * stripes
    return (np.clip(tile, 0, 1) * 255).astype(np.uint8)


def solid_mesh(shape: Shape, look: Look, shadows: Shadows) -> Mesh:
    """A small glossy thing in one colour."""
    transfer = light_transfer(shadows.full(), shape.points, shape.normals, directions=32, offset=0.004)
    return Mesh(
        positions=shape.points,
        normals=shape.normals,
        uv=shape.uv,
        transfer=transfer,
        triangles=shape.triangles,
        texture=WHITE,
        material="glossy",
        look=look,
    )
