"""Reads a photo: finds the face, cuts the aligned crop, solves the camera, mattes the person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from tpn_engine.errors import FaceTooSmallError, NoFaceError, OptionError
from tpn_engine.portrait.align import CropWindow, crop_window, cut_crop, turned
from tpn_engine.portrait.detect import Face, FaceDetector
from tpn_engine.portrait.landmarks import PRESENCE, FaceLandmarker, Region, roll
from tpn_engine.portrait.matte import Matter
from tpn_engine.portrait.photo import PhotoSource, open_photo
from tpn_engine.portrait.portrait import Portrait, PortraitWarning
from tpn_engine.portrait.pose import fit_camera, head_pose
from tpn_engine.progress import SILENT, Progress
from tpn_engine.standard_face import EG3D_FACE

DETECTION_SIDE = 1280  # faces are looked for in a copy this large
CERTAIN = 0.995  # detection score below which the photo may be lying on its side
MIN_FACE_PIXELS = 24.0
MAX_FACES = 32  # more are not looked at closely
LEVEL_FROM = 10.0  # degrees of roll from which `level` turns the photo

WARN_OUTSIDE = 0.25  # part of the crop beyond the photo's edge
WARN_YAW = 45.0  # degrees
WARN_UPSCALE = 2.0


@dataclass(frozen=True)
class Sighting:
    """The faces of a photo in one of its four orientations.

    `turns`: quarter turns counter-clockwise; `preview`: the photo turned so, at most 1280 pixels
    long; `faces`: in pixels of the preview, the largest first, scores including the landmark net's.
    """

    turns: int
    preview: Image.Image
    faces: tuple[Face, ...]

    @property
    def confidence(self) -> float:
        return max((face.score for face in self.faces), default=0.0)


class PortraitReader:
    """Holds the portrait nets; about 2 MB of weights, 0.5 s for a photo on one core."""

    def __init__(self, device: str | torch.device = "cpu") -> None:
        device = torch.device(device)
        self._detector = FaceDetector(device)
        self._landmarker = FaceLandmarker(device)
        self._matter = Matter(device)

    def read(
        self, photo: PhotoSource, *, face: int | None = None, level: bool = False, progress: Progress = SILENT
    ) -> Portrait:
        """The aligned crop, source camera and matte of a photo.

        `photo`: a file, a file's bytes or a Pillow image. `face`: which one, 0 the largest; None takes
        the largest and warns if there are more. `level`: turn the photo if the head is tilted by more
        than 10 degrees; else the tilt is kept, in the crop and in the camera.

        The alignment is EG3D's; the pose is within 2 to 4 degrees of official labels up to a yaw of 45
        degrees. Raises FileError, NotAnImageError, ImageTooLargeError, FaceTooSmallError, NoFaceError,
        OptionError (a face that is not there), CancelledError.
        """
        progress("reading the photo", 0.0)
        opened = open_photo(photo)
        progress("finding the face", 0.2)
        sighting = self._find_upright(opened.image, progress)
        chosen = _choose(sighting.faces, face, opened.name)
        image = _quarter_turned(opened.image, sighting.turns)
        found = chosen.scaled(np.array(image.size) / sighting.preview.size)
        if found.size < MIN_FACE_PIXELS:
            raise FaceTooSmallError(
                f"The face in {opened.name} is only {found.size:.0f} pixels wide; use a larger or closer photo."
            )

        progress("aligning", 0.6)
        window = self._align(image, found, level)
        crop, shown = cut_crop(image, window)
        points = window.to_crop(turned(found.points + 0.5, window.angle, window.center) - 0.5)
        landmarks, presence = self._landmarker.landmarks(crop, Region.around_points(points))
        if presence < PRESENCE:
            raise NoFaceError(f"No face can be made out in {opened.name}; use a photo that shows it clearly.")
        camera = fit_camera(landmarks, EG3D_FACE)

        progress("matting", 0.8)
        matte, surroundings = self._matter.matte(image, window, landmarks)
        warnings = _warnings(
            window=window,
            shown=shown,
            yaw=head_pose(camera).yaw,
            turns=sighting.turns,
            unasked_faces=len(sighting.faces) if face is None else 1,
        )
        progress("matting", 1.0)
        x0, y0, x1, y1 = (float(value) for value in found.box)
        return Portrait(
            crop=crop,
            camera=camera,
            matte=matte,
            landmarks=landmarks,
            score=chosen.score,
            faces=len(sighting.faces),
            box=(x0, y0, x1, y1),
            name=opened.name,
            sha256=opened.sha256,
            warnings=tuple(warnings),
            surroundings=surroundings,
        )

    def _find_upright(self, image: Image.Image, progress: Progress) -> Sighting:
        """The orientation in which the faces are surest; the photo's own, if they are sure in it."""
        preview = _reduced(image, DETECTION_SIDE)
        best = self._sight(preview, 0)
        if best.confidence < CERTAIN:
            for turns in (1, 2, 3):
                progress.check()
                best = max(best, self._sight(preview, turns), key=lambda sighting: sighting.confidence)
        return best

    def _sight(self, preview: Image.Image, turns: int) -> Sighting:
        """Detections that the landmark net agrees are faces."""
        turned_preview = _quarter_turned(preview, turns)
        faces = []
        for face in self._detector.detect(np.asarray(turned_preview))[:MAX_FACES]:
            window = crop_window(face.points, turned_preview.size)
            crop, _ = cut_crop(turned_preview, window)
            presence = self._landmarker.presence(crop, window.to_crop(face.points))
            if presence >= PRESENCE:
                faces.append(replace(face, score=face.score * presence))
        return Sighting(turns, turned_preview, tuple(faces))

    def _align(self, image: Image.Image, face: Face, level: bool) -> CropWindow:
        """The aligned crop's window: from the detection first, then from a closer look at that crop."""
        tilt = roll(face.points)
        angle = tilt if level and abs(tilt) > LEVEL_FROM else 0.0
        x, y = (float(value) for value in face.points.mean(axis=0) + 0.5)
        points = turned(face.points + 0.5, angle, (x, y)) - 0.5
        window = crop_window(points, image.size, angle, (x, y))
        crop, _ = cut_crop(image, window)
        points = window.from_crop(self._detector.steadied(crop, window.to_crop(points)))
        return crop_window(points, image.size, angle, (x, y))


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """The picture at most `side` pixels long."""
    factor = side / max(image.size)
    if factor >= 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _quarter_turned(image: Image.Image, turns: int) -> Image.Image:
    """Turned counter-clockwise by quarter turns."""
    operations = (None, Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    operation = operations[turns]
    return image if operation is None else image.transpose(operation)


def _choose(faces: tuple[Face, ...], index: int | None, name: str) -> Face:
    """The largest face, or the one asked for."""
    if not faces:
        raise NoFaceError(f"No face was found in {name}; use a photo that shows a face from the front.")
    if index is None:
        return faces[0]
    if not 0 <= index < len(faces):
        known = "1 face, number 0" if len(faces) == 1 else f"{len(faces)} faces, 0 (the largest) to {len(faces) - 1}"
        raise OptionError(f"There is no face {index} in {name}: it shows {known}.")
    return faces[index]


def _warnings(
    *, window: CropWindow, shown: np.ndarray, yaw: float, turns: int, unasked_faces: int
) -> Iterator[PortraitWarning]:
    outside = 1 - float(shown.mean())
    if unasked_faces > 1:
        text = f"There are {unasked_faces} faces; the largest was taken. Give a face number (0 is the largest)."
        yield PortraitWarning("several_faces", text)
    if turns:
        yield PortraitWarning("rotated_photo", f"The photo was turned by {turns * 90} degrees counter-clockwise.")
    if window.angle:
        yield PortraitWarning("levelled", f"The photo was turned by {window.angle:.0f} degrees to level the eyes.")
    if outside > WARN_OUTSIDE:
        text = f"{outside:.0%} of the head's surroundings lie outside the photo; what is missing was made up."
        yield PortraitWarning("outside_photo", text)
    if abs(yaw) > WARN_YAW:
        text = f"The head is turned by {abs(yaw):.0f} degrees; a photo from the front gives a better head."
        yield PortraitWarning("large_yaw", text)
    if window.upscale > WARN_UPSCALE:
        text = f"The face is small: it was enlarged {window.upscale:.1f} times. A sharper photo gives a better head."
        yield PortraitWarning("low_resolution", text)
