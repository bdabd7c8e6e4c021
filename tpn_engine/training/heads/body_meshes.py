"""The meshes of skin, garment, eyes, mouth, and what is drawn flat on the skin."""

from __future__ import annotations

import numpy as np

from tpn_engine.training.heads.assets import HeadAssets, Proxy
from tpn_engine.training.heads.clothing import cloth_texture, coverage, thickness
from tpn_engine.training.heads.figure import Figure, Shadows
from tpn_engine.training.heads.geometry import clipped, rotation, unit, vertex_normals
from tpn_engine.training.heads.mesh import Look, Material, Mesh
from tpn_engine.training.heads.parameters import HeadParameters
from tpn_engine.training.heads.transfer import light_transfer, unshadowed_transfer

RIM_RADIUS = 0.168  # decimetres from an eyeball's middle to its lids where they fit
ANYWHERE = (-np.inf, np.inf)


def proxy_mesh(
    proxy: Proxy,
    points: np.ndarray,
    normals: np.ndarray,
    transfer: np.ndarray,
    texture: np.ndarray,
    material: Material,
    look: Look,
) -> Mesh:
    """A fitted part whose `points` [P,3], `normals` [P,3] and `transfer` [P,9] are known."""
    return Mesh(
        positions=points[proxy.point],
        normals=normals[proxy.point],
        uv=proxy.uv,
        transfer=transfer[proxy.point],
        triangles=proxy.triangles,
        texture=texture,
        material=material,
        look=look,
    )


def skin_mesh(assets: HeadAssets, head: HeadParameters, figure: Figure, shadows: Shadows, texture: np.ndarray) -> Mesh:
    """The whole skin with its painted atlas."""
    layout = assets.skin
    return Mesh(
        positions=figure.skin.points[layout.point],
        normals=figure.skin.normals[layout.point],
        uv=layout.atlas_uv,
        transfer=shadows.on_skin[layout.point],
        triangles=layout.textured_triangles,
        texture=texture,
        material="skin",
        look=Look(roughness=head.skin.roughness, bump=0.006),
    )


def cloth_mesh(assets: HeadAssets, head: HeadParameters, figure: Figure, shadows: Shadows) -> Mesh:
    """The garment: the covered skin, raised, cut along its neckline."""
    layout, skin = assets.skin, figure.skin
    inside = coverage(layout.rest, head.clothing)
    raised = skin.points + skin.normals * thickness(inside)[:, None]
    corners = [raised, skin.normals, shadows.on_skin]
    values = np.concatenate([*(part[layout.point] for part in corners), layout.body_uv * 9 % 1], axis=1)
    values, triangles = clipped(values, layout.textured_triangles, inside[layout.point])
    positions, normals, transfer, uv = np.split(values, [3, 6, 15], axis=1)
    return Mesh(
        positions=positions,
        normals=normals,
        uv=uv,
        transfer=transfer,
        triangles=triangles,
        texture=cloth_texture(head.clothing, head.rng("cloth")),
        material="cloth",
        look=Look(roughness=0.75, specular=0.35, bump=0.01),
    )


def eyes_mesh(assets: HeadAssets, head: HeadParameters, figure: Figure, shadows: Shadows) -> Mesh:
    """Both eyeballs, turned to the gaze, with spherical normals."""
    proxy, points = assets.proxies["eyes"], eyeball_points(assets, head, figure)
    left = points[:, 0] > 0
    centre = assets.eye_centres(figure.base)[left.astype(int)]
    normals = unit(points - figure.to_world(centre))
    transfer = light_transfer(shadows.full(), points, normals, directions=64, offset=0.006)
    white = (0.86, 0.86, 0.74) if head.eye == "eye_brown" else (1.0, 0.93, 0.86)  # that picture is too bright
    look = Look(tint=white, roughness=0.14, specular=0.8)
    return proxy_mesh(proxy, points, normals, transfer, assets.textures[head.eye], "glossy", look)


def eyeball_points(assets: HeadAssets, head: HeadParameters, figure: Figure) -> np.ndarray:
    """The points of both eyeballs, turned to the gaze and as large as the lids let them be, [P, 3] in EG3D units."""
    points = assets.proxies["eyes"].fit(figure.base)
    yaw, pitch = head.expression.gaze
    turn = rotation("y", yaw) @ rotation("x", pitch)
    side = (points[:, 0] > 0).astype(int)
    centre = assets.eye_centres(figure.base)[side]
    size = eyeball_sizes(assets, figure.neutral)[side][:, None]
    return figure.to_world(size * (points - centre) @ turn.T + centre)


def eyeball_sizes(assets: HeadAssets, neutral: np.ndarray) -> np.ndarray:
    """By how much to shrink the right and the left eyeball so that the lids lie outside them, [2].

    Shapes and modes move the lids without the eyeball, which then bulges through them and stares.
    """
    centres = assets.eye_centres(neutral)
    radii = [np.median(np.linalg.norm(neutral[rim] - c, axis=1)) for rim, c in zip(assets.rims, centres, strict=True)]
    return np.clip(np.array(radii) / RIM_RADIUS, 0.84, 1)


def mouth_meshes(assets: HeadAssets, figure: Figure, shadows: Shadows) -> list[Mesh]:
    """Teeth and tongue."""
    looks = {
        "teeth": Look(tint=(1.25, 1.2, 1.08), roughness=0.25),
        "tongue": Look(roughness=0.35, specular=0.8),
    }
    meshes = []
    for name, look in looks.items():
        proxy = assets.proxies[name]
        points = figure.to_world(proxy.fit(figure.base))
        normals = vertex_normals(points, proxy.point_triangles)
        transfer = 0.55 * light_transfer([shadows.skin], points, normals, directions=32, offset=0.003)
        transfer += 0.22 * unshadowed_transfer(normals)  # light that reaches in through lips and cheeks
        meshes.append(proxy_mesh(proxy, points, normals, transfer, assets.textures[name], "glossy", look))
    return meshes


def decal_mesh(
    assets: HeadAssets, name: str, figure: Figure, shadows: Shadows, look: Look, band: tuple[float, float] = ANYWHERE
) -> Mesh:
    """A flat part, brows or lashes, lit as the skin near it and brought within `band` EG3D units above it."""
    proxy = assets.proxies[name]
    points = figure.to_world(proxy.fit(figure.base))
    nearest = figure.skin.nearest(points)
    normals = figure.skin.normals[nearest]
    height = ((points - figure.skin.points[nearest]) * normals).sum(1, keepdims=True)
    raised = points + normals * (np.clip(height, *band) - height)
    return proxy_mesh(proxy, raised, normals, shadows.on_skin[nearest], assets.textures[name], "decal", look)
