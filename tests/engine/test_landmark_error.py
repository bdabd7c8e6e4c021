"""The landmark error is the distance of two faces, and known only where there are two."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from portrait_photos import astronaut

from tpn_engine.portrait import Portrait, PortraitReader
from tpn_engine.portrait.landmark_error import landmark_error
from tpn_engine.portrait.landmarks import FaceLandmarker, eye_distance
from tpn_engine.standard_face import EG3D_FACE


@pytest.fixture(scope="module")
def landmarker() -> FaceLandmarker:
    return FaceLandmarker(torch.device("cpu"))


@pytest.fixture(scope="module")
def portrait() -> Portrait:
    return PortraitReader().read(astronaut())


@pytest.mark.parametrize(("axis", "pixels"), [(0, 8), (1, -16)])
def test_a_moved_face_is_as_far_as_it_was_moved(
    landmarker: FaceLandmarker, portrait: Portrait, axis: int, pixels: int
) -> None:
    moved = np.roll(portrait.crop, pixels, axis)
    error = landmark_error(landmarker, moved, portrait.crop, portrait.camera, EG3D_FACE)
    assert error == pytest.approx(abs(pixels) / eye_distance(portrait.landmarks) * 100, rel=0.15)


def test_the_size_of_the_pictures_and_the_background_hardly_matter(
    landmarker: FaceLandmarker, portrait: Portrait
) -> None:
    person = portrait.crop * portrait.matte[..., None]
    half = portrait.crop.reshape(256, 2, 256, 2, 3).mean((1, 3))
    background = landmark_error(landmarker, person, portrait.crop, portrait.camera, EG3D_FACE)
    whole, small = (
        landmark_error(landmarker, np.roll(photo, step, 1), photo, portrait.camera, EG3D_FACE)
        for photo, step in ((portrait.crop, 20), (half, 10))
    )
    assert background is not None
    assert background < 1
    assert whole == pytest.approx(small, rel=0.1)


def test_without_a_face_there_is_no_error(landmarker: FaceLandmarker, portrait: Portrait) -> None:
    nobody = np.zeros_like(portrait.crop)
    assert landmark_error(landmarker, nobody, portrait.crop, portrait.camera, EG3D_FACE) is None
    assert landmark_error(landmarker, portrait.crop, nobody, portrait.camera, EG3D_FACE) is None
