"""Portrait to capture, by any method."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from typing import Any, cast

import numpy as np
import torch

from tpn_engine.camera import Camera
from tpn_engine.capture import Capture
from tpn_engine.checkpoints import Model
from tpn_engine.inversion.fitting import Observer, Watch
from tpn_engine.inversion.latent import invert_latent
from tpn_engine.inversion.options import DEFAULT_METHOD, Method, Options, make_options
from tpn_engine.inversion.pivotal_tuning import invert_pivotal_tuning
from tpn_engine.inversion.psp import invert_psp
from tpn_engine.inversion.refine_fit import invert_refine_fit
from tpn_engine.inversion.subject import Inversion, Subject
from tpn_engine.inversion.triplanenet import invert_triplanenet
from tpn_engine.portrait import Portrait
from tpn_engine.progress import SILENT, Progress
from tpn_engine.version import __version__

Inverter = Callable[[Model, Subject, Any, Observer], Inversion]

INVERTERS: dict[Method, Inverter] = {
    "triplanenet": invert_triplanenet,
    "refine_fit": invert_refine_fit,
    "psp": invert_psp,
    "latent": invert_latent,
    "pivotal_tuning": invert_pivotal_tuning,
}


def invert(
    model: Model,
    portrait: Portrait,
    progress: Progress = SILENT,
    *,
    method: str = DEFAULT_METHOD,
    options: Options | None = None,
    watch: Watch | None = None,
) -> Capture:
    """The capture of a portrait, on the model's device.

    `options` are of the method's own class in `tpn_engine.inversion.options`; `watch` is told after every
    step of an optimisation. Raises OptionError, ModelError and CancelledError.
    """
    chosen = make_options(method, {}) if options is None else options
    inverter = INVERTERS[cast(Method, method)]
    preset = model.preset
    device = next(model.network.parameters()).device
    label = portrait.camera_in(preset.face).label
    subject = Subject.of(portrait.crop, portrait.matte, label, matted=preset.matted, device=device, face=preset.face)
    made = inverter(model, subject, chosen, Observer(progress, watch))

    matte = _eight_bits(portrait.matte)
    around = portrait.surroundings
    if around is not None:
        around = replace(around, picture=_eight_bits(around.picture), matte=_eight_bits(around.matte))
    head = made.head(preset, matte / np.float32(255))
    provenance: dict[str, Any] = {
        "photo": {"name": portrait.name, "sha256": portrait.sha256, "faces": portrait.faces},
        "model": {"name": model.name, "sha256": model.sha256, "licence": model.licence},
        "method": method,
        "options": asdict(chosen),
        "version": __version__,
        "torch": torch.__version__,
        "device": str(device),
        "warnings": [asdict(warning) for warning in portrait.warnings],
        "seconds": made.seconds,
    }
    if made.fits:
        provenance["fits"] = {stage: asdict(report) for stage, report in made.fits.items()}
    if made.losses:
        provenance["losses"] = made.losses
    return Capture(
        field=replace(head, decoder=deepcopy(made.decoder).requires_grad_(False).eval()),
        codes=made.codes,
        camera=Camera.from_label(made.label.cpu().numpy()),
        rendering=preset.generator.rendering,
        iso_level=preset.iso_level,
        border=preset.border,
        floor=preset.floor,
        colors=preset.colors,
        matted=preset.matted,
        crop=_eight_bits(portrait.crop),
        matte=matte,
        provenance=provenance,
        surroundings=around,
        landmarks=portrait.landmarks,
    )


def _eight_bits(picture: np.ndarray) -> np.ndarray:
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8)
