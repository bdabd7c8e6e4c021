"""What networks that were taught to see say of two pictures, where the user has their weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from tpn_engine.camera import Camera
from tpn_engine.checkpoints.perceptual import load_identity, load_lpips
from tpn_engine.inversion.identity import identity_similarity
from tpn_engine.nets.irse import IdentityNetwork
from tpn_engine.nets.lpips import Lpips
from tpn_engine.standard_face import StandardFace
from tpn_engine.training.measures import ViewMeasures


@dataclass(frozen=True)
class Perception:
    """LPIPS and the identity network, None where its weights aren't present, and where the standard face stands."""

    lpips: Lpips | None
    identity: IdentityNetwork | None
    face: StandardFace

    @classmethod
    def present(cls, face: StandardFace) -> Perception:
        """On the CPU, where views are compared; raises ModelError where weights are damaged."""
        device = torch.device("cpu")
        return cls(load_lpips(device), load_identity(device), face)

    @torch.no_grad()
    def added(
        self, measures: ViewMeasures, rgb: np.ndarray, truth: np.ndarray, face: Camera | None = None
    ) -> ViewMeasures:
        """`measures` with those of two pictures [S,S,3] in [0,1]; faces are compared as the camera `face` has them."""
        one, other = (
            torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1), np.float32))[None] * 2 - 1
            for picture in (rgb, truth)
        )
        if self.lpips is not None:
            measures = replace(measures, lpips=self.lpips(one, other).item())
        if self.identity is not None and face is not None:
            label = torch.from_numpy(face.label)[None]
            measures = replace(measures, identity=identity_similarity(self.identity, one, other, label, self.face))
        return measures
