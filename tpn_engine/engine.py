"""The whole way from a photo to a capture, with the networks held ready."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from tpn_engine.capture import Capture
from tpn_engine.checkpoints.catalog import DEFAULT_MODEL
from tpn_engine.checkpoints.load import Model, load_model
from tpn_engine.devices import choose_device
from tpn_engine.errors import DeviceError
from tpn_engine.inversion.fitting import Watch
from tpn_engine.inversion.invert import invert
from tpn_engine.inversion.options import DEFAULT_METHOD, make_options
from tpn_engine.portrait import PortraitReader
from tpn_engine.portrait.photo import PhotoSource
from tpn_engine.progress import Progress


class Engine:
    """A model and the portrait networks, loaded once and used for any number of photos."""

    def __init__(self, model: Model, reader: PortraitReader) -> None:
        self.model = model
        self.reader = reader

    @classmethod
    def load(cls, model: str | os.PathLike[str] = DEFAULT_MODEL, device: str = "auto") -> Engine:
        """Load a model by name, or by the path of its .safetensors.

        `device` is "auto" (cuda, else mps, else cpu) or a device's name. The portrait networks are small
        and always run on the CPU, so that a photo gives the same aligned crop everywhere.
        Raises ModelError and DeviceError.
        """
        chosen = choose_device(device)
        with _told_when_memory_ends(chosen):
            return cls(load_model(model, chosen), PortraitReader())

    @property
    def device(self) -> torch.device:
        """The device the model is on."""
        return next(self.model.network.parameters()).device

    def capture(
        self,
        photo: PhotoSource,
        *,
        face: int | None = None,
        level: bool = False,
        method: str = DEFAULT_METHOD,
        progress: Callable[[str, float], None] | None = None,
        cancel: Callable[[], bool] | None = None,
        watch: Watch | None = None,
        **options: Any,
    ) -> Capture:
        """Align and invert one photo: a path, the bytes of an image file or a PIL image.

        `face` picks one of several (the largest otherwise), `level` turns a tilted head upright first.
        `method` is one of `tpn_engine.inversion.options.METHODS`, and `options` are its own, such as
        `steps`, `seconds` and `seed`. `progress(stage, fraction)` is told where the work is, `cancel()` is
        asked whether to stop, `watch(state)` is told the loss after every step of an optimisation, and can
        render a small picture of the head so far.
        Raises OptionError, the errors of reading a photo, DeviceError out of memory, CancelledError.
        """
        chosen = make_options(method, options)
        watched = Progress(progress, cancel)
        started = time.perf_counter()
        portrait = self.reader.read(photo, face=face, level=level, progress=watched)
        seconds = {"portrait": time.perf_counter() - started}
        with _told_when_memory_ends(self.device):
            capture = invert(self.model, portrait, watched, method=method, options=chosen, watch=watch)
        seconds |= capture.provenance["seconds"]
        return replace(capture, provenance={**capture.provenance, "seconds": seconds})


@contextmanager
def _told_when_memory_ends(device: torch.device) -> Iterator[None]:
    """Turn the frameworks' ways of saying "out of memory" into a DeviceError."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # torch has a class for it on some devices only
        text = str(error)
        if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
            raise DeviceError(
                f"The device {device} ran out of memory: close other programs or use another device."
            ) from error
        raise
