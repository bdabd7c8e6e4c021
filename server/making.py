"""What the worker makes: captures from photos, and everything else from captures."""

from __future__ import annotations

import gc
import json
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from server.messages import MakeCapture, MakeCrop, MakeMesh, MakeTurntable, MakeView, Work
from tpn_engine.capture import Capture
from tpn_engine.devices import choose_device
from tpn_engine.engine import Engine
from tpn_engine.errors import DeviceError, FileError, HeadCaptureError, ModelError
from tpn_engine.files import replacing
from tpn_engine.inversion.fitting import FitState
from tpn_engine.inversion.options import option_names
from tpn_engine.progress import Progress

PREVIEW_SECONDS = 2.0  # between previews of a fit, each of which takes a quarter of a second from it
CAPTURES_HELD = 2  # 25 MB each with the official model; the one being looked at, and the one before

# Where each stage of a capture lies in the whole: its beginning and its length.
# An optimisation, where a method has one, takes nearly all of the time.
_SHARES = {"loading the model": (0.0, 0.0), "pivot": (0.4, 0.25), "refinement": (0.65, 0.3), "saving": (0.95, 0.05)}
_FITTED_SHARES: dict[str, dict[str, tuple[float, float]]] = {
    "refine_fit": {"pivot": (0.15, 0.03), "refinement": (0.18, 0.07), "fitting": (0.25, 0.7)},
    "latent": {"pivot": (0.15, 0.03), "codes": (0.18, 0.77)},
    "pivotal_tuning": {"pivot": (0.15, 0.03), "codes": (0.18, 0.2), "refinement": (0.38, 0.03), "tuning": (0.41, 0.54)},
}
_PORTRAIT_SHARE = (0.05, 0.35)  # its stages count on from one another
_QUICK_PORTRAIT_SHARE = (0.05, 0.1)


class Maker:
    """Holds an engine and the last captures, and makes one thing at a time.

    `device_name` is None, and `problem` a sentence, where the device asked for is not there.
    """

    def __init__(self, device: str) -> None:
        self.device_name: str | None = None
        self.problem: str | None = None
        try:
            self.device_name = str(choose_device(device))
        except DeviceError as error:
            self.problem = str(error)
        self._engine: tuple[str, Engine] | None = None
        self._captures: OrderedDict[Path, Capture] = OrderedDict()

    def make(self, work: Work, progress: Progress) -> dict[str, Any]:
        """Write the work's target; the result is a capture's facts, or empty.

        When memory ends, everything held is given back and the work is done once more, what is made from
        a capture on the CPU. Raises HeadCaptureErrors; DeviceError if memory ends again.
        """
        if self.device_name is None:
            raise DeviceError(self.problem or "There is no device.")
        try:
            return self._make(work, self.device_name, progress)
        except (RuntimeError, MemoryError, HeadCaptureError) as error:
            if not _memory_ended(error):
                raise
        # Outside the handler: until here the error's frames held on to what they had allocated.
        self._give_back()
        device = self.device_name if isinstance(work, MakeCapture) else "cpu"
        try:
            return self._make(work, device, progress)
        except (RuntimeError, MemoryError, HeadCaptureError) as error:
            if not _memory_ended(error):
                raise
            sentence = f"The device {device} ran out of memory: close other programs or ask for something smaller."
        self._give_back()
        raise DeviceError(sentence)

    def memory_free(self) -> int | None:
        """Bytes free on the device; of the machine for the CPU, None where the system does not say."""
        if self.device_name is not None and self.device_name.startswith("cuda"):
            return torch.cuda.mem_get_info(self.device_name)[0]
        try:
            for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        return None

    def _make(self, work: Work, device: str, progress: Progress) -> dict[str, Any]:
        if isinstance(work, MakeCapture):
            return self._capture(work, device, progress)
        capture = self._open(work.capture, device)
        if isinstance(work, MakeMesh):
            mesh = capture.mesh(
                work.resolution,
                triangles=work.triangles,
                smooth=work.smooth,
                solid=work.solid,
                colors=work.colors,
                progress=progress,
            )
            mesh.save(work.target)
        elif isinstance(work, MakeView):
            picture = capture.render(work.yaw, work.pitch, work.size, progress=progress)
            _save(picture, work.target)
        elif isinstance(work, MakeCrop):
            _save(Image.fromarray(capture.crop, "RGB"), work.target)
        elif isinstance(work, MakeTurntable):
            capture.turntable(work.target, work.frames, work.size, pitch=work.pitch, progress=progress)
        return {}

    def _capture(self, work: MakeCapture, device: str, progress: Progress) -> dict[str, Any]:
        overall = Progress(_Overall(progress, work.method), progress.cancelled)
        overall("loading the model", 0.0)
        engine = self._ready_engine(work, device)
        try:
            photo = work.photo.read_bytes()
        except OSError as error:
            raise FileError(f"The photo can't be read again ({error.strerror}): send it again.") from error
        options: dict[str, Any] = {}
        if work.seconds is not None and "seconds" in option_names(work.method):
            options["seconds"] = work.seconds
        capture = engine.capture(
            photo,
            face=work.face,
            level=work.level,
            method=work.method,
            progress=overall.report,
            cancel=overall.cancelled,
            watch=_Previews(work.preview),
            **options,
        )
        overall("saving", 0.0)
        facts = {
            "camera": [float(number) for number in capture.camera.label],
            "iso_level": capture.iso_level,
            "provenance": capture.provenance,
        }
        with replacing(work.facts) as unfinished:
            unfinished.write_text(json.dumps(facts), encoding="utf-8")
        capture.save(work.target)
        self._hold(work.target, capture)
        return facts

    def _ready_engine(self, work: MakeCapture, device: str) -> Engine:
        if self._engine is not None and self._engine[0] == work.model_sha256:
            return self._engine[1]
        self._engine = None  # two models at once may be more than the device holds
        self._captures.clear()
        engine = Engine.load(Path(work.model) if work.model.endswith(".safetensors") else work.model, device)
        if engine.model.sha256 != work.model_sha256:
            raise ModelError(f"The model {engine.model.name} was changed just now: send the photo again.")
        self._engine = (work.model_sha256, engine)
        return engine

    def _open(self, path: Path, device: str) -> Capture:
        held = self._captures.get(path)
        if held is not None and held.field.planes.device.type == torch.device(device).type:
            self._captures.move_to_end(path)
            return held
        capture = Capture.load(path, device)
        self._hold(path, capture)
        return capture

    def _hold(self, path: Path, capture: Capture) -> None:
        self._captures[path] = capture
        self._captures.move_to_end(path)
        while len(self._captures) > CAPTURES_HELD:
            self._captures.popitem(last=False)

    def _give_back(self) -> None:
        self._engine = None
        self._captures.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class _Previews:
    """Keeps a picture of the head so far in a file, no oftener than anyone needs."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._next = 0.0

    def __call__(self, state: FitState) -> None:
        if state.preview is None or time.monotonic() < self._next:
            return
        with suppress(HeadCaptureError, OSError):  # on Windows one that is being read stays until the next time
            _save(state.preview(), self._target)
        self._next = time.monotonic() + PREVIEW_SECONDS


class _Overall:
    """A capture's stages as one fraction that never falls."""

    def __init__(self, progress: Progress, method: str) -> None:
        fitted = _FITTED_SHARES.get(method)
        self._shares = _SHARES | (fitted or {})
        self._portrait_share = _QUICK_PORTRAIT_SHARE if fitted else _PORTRAIT_SHARE
        self._progress = progress
        self._fraction = 0.0

    def __call__(self, stage: str, fraction: float) -> None:
        start, length = self._shares.get(stage, self._portrait_share)
        self._fraction = max(self._fraction, start + length * min(max(fraction, 0.0), 1.0))
        self._progress(stage, self._fraction)


def _memory_ended(error: BaseException) -> bool:
    """Whether a framework's error, or the engine's sentence for it, says that there is no memory left."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _save(picture: Image.Image, target: Path) -> None:
    with replacing(target) as unfinished:
        picture.save(unfinished)
