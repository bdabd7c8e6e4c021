"""TriPlaneNet inversion: the pivot, then its refinement, both feed-forward (Bhattarai et al., WACV 2024)."""

from __future__ import annotations

import torch

from tpn_engine.checkpoints import Model
from tpn_engine.inversion.fitting import Observer
from tpn_engine.inversion.options import TriplaneNetOptions
from tpn_engine.inversion.psp import pivot_of
from tpn_engine.inversion.stages import Stages
from tpn_engine.inversion.subject import Inversion, Subject


@torch.no_grad()
def invert_triplanenet(model: Model, subject: Subject, options: TriplaneNetOptions, observer: Observer) -> Inversion:
    """Pivot and refinement; reports the stages "pivot" and "refinement", cancels between them."""
    stages = Stages(observer.progress)
    pivot = pivot_of(model, subject, stages)
    with stages("refinement"):
        planes = model.network.refine(pivot, subject.shown, subject.label, cascade=options.cascade)
        planes[0, 0, 0, 0, 0].item()  # wait for the device
    return Inversion(pivot.codes[0], planes[0], model.network.decoder.decoder, subject.label[0], stages.seconds)
