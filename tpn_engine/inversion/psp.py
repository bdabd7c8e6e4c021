"""The pivot alone: the encoder's codes and what the generator makes of them (pSp, Richardson et al. 2021)."""

from __future__ import annotations

import torch

from tpn_engine.checkpoints import Model
from tpn_engine.inversion.fitting import Observer
from tpn_engine.inversion.options import PspOptions
from tpn_engine.inversion.stages import Stages
from tpn_engine.inversion.subject import Inversion, Subject
from tpn_engine.nets.triplanenet import Pivot


@torch.no_grad()
def invert_psp(model: Model, subject: Subject, options: PspOptions, observer: Observer) -> Inversion:
    """One run of encoder and generator; reports the stage "pivot"."""
    del options  # it has none
    stages = Stages(observer.progress)
    pivot = pivot_of(model, subject, stages)
    return Inversion(pivot.codes[0], pivot.planes[0], model.network.decoder.decoder, subject.label[0], stages.seconds)


@torch.no_grad()
def pivot_of(model: Model, subject: Subject, stages: Stages) -> Pivot:
    """The first phase as the stage "pivot"."""
    with stages("pivot"):
        pivot = model.network.pivot(subject.shown)
        pivot.planes[0, 0, 0, 0, 0].item()  # wait for the device
    return pivot
