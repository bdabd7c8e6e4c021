"""From a seed to one head, ready to render."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tpn_engine.training.heads.accessory_meshes import earrings_mesh, glasses_meshes, headwear_mesh
from tpn_engine.training.heads.assets import HeadAssets
from tpn_engine.training.heads.body_meshes import cloth_mesh, decal_mesh, eyes_mesh, mouth_meshes, skin_mesh
from tpn_engine.training.heads.figure import Figure, cast_shadows, make_figure
from tpn_engine.training.heads.hair_meshes import (
    beard_mesh,
    brow_mesh,
    card_mesh,
    fit_cards,
    grow_strands,
    strand_mesh,
)
from tpn_engine.training.heads.headwear import headwear_shape
from tpn_engine.training.heads.light import Light, sample_light
from tpn_engine.training.heads.mesh import Look, Mesh, linear_color
from tpn_engine.training.heads.parameters import HeadParameters, brow_color, sample_parameters
from tpn_engine.training.heads.skin import SkinPainter
from tpn_engine.training.heads.transfer import occluder

GUIDE_TRANSMITTANCE, CARD_TRANSMITTANCE = 0.4, 0.45  # of the hair as the skin sees it
BROW_BAND = (0.0006, 0.0016)  # EG3D units above the skin in which brow cards lie


@dataclass(frozen=True)
class Head:
    """One random head, ready to render. `landmarks` [5,3] EG3D units, with its expression."""

    parameters: HeadParameters
    meshes: list[Mesh]
    light: Light
    landmarks: np.ndarray


class HeadBuilder:
    """Makes heads from seeds; what all heads share is prepared once."""

    def __init__(self, assets: HeadAssets):
        self.assets = assets
        self._painter = SkinPainter(assets)

    def head(self, seed: int) -> Head:
        """The head that a seed names, with its light."""
        rng = np.random.default_rng(seed)
        parameters = sample_parameters(self.assets, rng)
        light = sample_light(rng)
        figure = make_figure(self.assets, parameters.identity, parameters.expression)
        landmarks = figure.to_world(self.assets.five_points(figure.base))
        return Head(parameters, self.meshes(parameters, figure), light, landmarks)

    def meshes(self, head: HeadParameters, figure: Figure) -> list[Mesh]:
        """All meshes of a head."""
        assets, worn = self.assets, head.accessories
        strands = cards = shell = hair = None
        if worn.headwear:  # it hides the hair
            shell = headwear_shape(worn.headwear, figure.skin)
            hair = occluder(shell.points, shell.triangles, 0.0)
        elif head.hair == "strands":
            strands = grow_strands(assets, head, figure)
            guides = strands.guide_ribbons
            hair = occluder(guides.positions, guides.triangles, GUIDE_TRANSMITTANCE)
        elif head.hair != "bald":
            cards = fit_cards(assets, head, figure)
            hair = occluder(cards.points, assets.proxies[head.hair].point_triangles[cards.kept], CARD_TRANSMITTANCE)
        shadows = cast_shadows(figure.skin, hair)

        meshes = [
            skin_mesh(assets, head, figure, shadows, self._painter.paint(head)),
            cloth_mesh(assets, head, figure, shadows),
            eyes_mesh(assets, head, figure, shadows),
            *mouth_meshes(assets, figure, shadows),
            decal_mesh(assets, head.lashes, figure, shadows, lash_look(head)),
        ]
        if head.brows.hairs > 0:
            meshes.append(brow_mesh(assets, head, figure, shadows))
        else:
            meshes.append(decal_mesh(assets, head.brows.card, figure, shadows, brow_look(head), BROW_BAND))
        if cards:
            meshes.append(card_mesh(assets, head, cards, shadows))
        if strands:
            meshes.append(strand_mesh(head, strands, shadows))
        if head.beard.length > 0:
            meshes.append(beard_mesh(assets, head, figure, shadows))
        if worn.headwear and shell:
            meshes.append(headwear_mesh(worn.headwear, shell, shadows))
        if worn.glasses:
            meshes.extend(glasses_meshes(assets, worn.glasses, figure, shadows))
        if worn.earrings:
            meshes.append(earrings_mesh(assets, worn.earrings, figure, shadows))
        return meshes


def lash_look(head: HeadParameters) -> Look:
    """Dark lashes, fuller on women."""
    return Look(tint=(0.012, 0.01, 0.009), opacity=0.9 if head.identity.female else 0.55)


def brow_look(head: HeadParameters) -> Look:
    """Brows drawn on a card."""
    return Look(tint=linear_color(brow_color(head)), opacity=1.2)
