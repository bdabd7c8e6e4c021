"""The weights of others that losses and measures use where the user has them. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tpn_engine.checkpoints.catalog import models_folder


@dataclass(frozen=True)
class LossPart:
    """What is made of one file: its `name` here, and the published `file` in words."""

    name: str
    file: str

    @property
    def path(self) -> Path:
        """Where it is kept: not among the models, which are heads."""
        return models_folder() / "losses" / f"{self.name}.safetensors"

    @property
    def present(self) -> bool:
        return self.path.is_file()


@dataclass(frozen=True)
class LossWeights:
    """One loss: what it is, its licence in words, and the parts that it needs."""

    name: str
    summary: str
    licence: str
    parts: tuple[LossPart, ...]

    @property
    def present(self) -> bool:
        return all(part.present for part in self.parts)

    @property
    def state(self) -> str:
        """Whether it can be used, and if not, what to do."""
        missing = [part for part in self.parts if not part.present]
        if not missing:
            return "present"
        files = " and ".join(part.file for part in missing)
        return f"{'not here' if len(missing) == len(self.parts) else 'in part'}: `tpn models add` {files}"


ALEXNET = LossPart("lpips-alexnet", "torchvision's AlexNet (alexnet-owt-*.pth)")
LPIPS_LINEAR = LossPart("lpips-linear", "LPIPS's alex.pth (version 0.1)")
IDENTITY = LossPart("identity", "ArcFace's model_ir_se50.pth")

LPIPS_WEIGHTS = LossWeights(
    "loss-lpips",
    "LPIPS with AlexNet",
    "BSD-3-Clause (torchvision) and BSD-2-Clause (LPIPS)",
    (ALEXNET, LPIPS_LINEAR),
)
IDENTITY_WEIGHTS = LossWeights(
    "loss-identity", "ArcFace IR-SE50", "MIT (the code); learnt from photos meant for research", (IDENTITY,)
)

LOSS_WEIGHTS = {weights.name: weights for weights in (LPIPS_WEIGHTS, IDENTITY_WEIGHTS)}
