"""Clouds are compared with a photo by rays, surfaces by points; both find a better head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_model import disc_portrait, tiny_network, tiny_preset

from tpn_engine.inversion.options import LatentOptions
from tpn_engine.inversion.photo_loss import photo_loss
from tpn_engine.inversion.photo_points import PhotoPoints
from tpn_engine.inversion.rendered_photo import RenderedPhoto
from tpn_engine.inversion.subject import Subject
from tpn_engine.standard_face import EG3D_FACE

CPU = torch.device("cpu")


@pytest.mark.parametrize(("opaque", "kind"), [(False, RenderedPhoto), (True, PhotoPoints)])
def test_a_photo_is_compared_as_the_heads_are(opaque: bool, kind: type) -> None:
    portrait, network = disc_portrait(), tiny_network()
    subject = Subject.of(portrait.crop, portrait.matte, portrait.camera.label, matted=True, device=CPU, face=EG3D_FACE)
    with torch.no_grad():
        planes = network.pivot(subject.shown).planes
    preset = replace(tiny_preset(), opaque=opaque)
    random = torch.Generator().manual_seed(0)
    options = LatentOptions(resolution=32, rays=512)
    photo = photo_loss(preset, network.decoder, planes, subject, options, random)
    assert isinstance(photo, kind)
    fitted = planes.clone().requires_grad_()
    optimizer = torch.optim.Adam([fitted], lr=0.05)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = photo.loss(network.decoder, fitted, subject.label)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_a_photo_of_thin_hair_is_compared_too() -> None:
    portrait, network = disc_portrait(), tiny_network()
    random = torch.Generator().manual_seed(0)
    matte = np.full_like(portrait.matte, 0.8)  # nowhere opaque, nowhere bare
    subject = Subject.of(portrait.crop, matte, portrait.camera.label, matted=True, device=CPU, face=EG3D_FACE)
    with torch.no_grad():
        planes = network.pivot(subject.shown).planes
    preset, options = replace(tiny_preset(), opaque=True), LatentOptions(resolution=32, rays=512)
    photo = photo_loss(preset, network.decoder, planes, subject, options, random)
    fitted = planes.clone().requires_grad_()
    photo.loss(network.decoder, fitted, subject.label).backward()
    assert fitted.grad is not None
    assert fitted.grad.abs().max() > 0
