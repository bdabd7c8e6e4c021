"""The model in the package by every method, from the library and from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image

from tpn_engine import Capture, Engine
from tpn_engine.cli import main
from tpn_engine.inversion.options import METHODS, Method, option_names


def short(method: Method) -> dict[str, Any]:
    """So little time that a fit takes a step or two."""
    return {"seconds": 0.5} if "seconds" in option_names(method) else {}


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "astronaut.jpg"
    Image.fromarray(skimage.data.astronaut()).save(path, quality=92)
    return path


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load(device="cpu")


@pytest.mark.parametrize("method", METHODS)
def test_the_library_makes_a_head(engine: Engine, photo: Path, method: Method) -> None:
    capture = engine.capture(photo, method=method, **short(method))
    assert capture.provenance["method"] == method
    assert (
        set(capture.provenance.get("fits", {}))
        == {
            "triplanenet": set(),
            "psp": set(),
            "refine_fit": {"fitting"},
            "latent": {"codes"},
            "pivotal_tuning": {"codes", "tuning"},
        }[method]
    )
    assert 0.4 < np.ptp(capture.mesh(64).vertices[:, 1]) <= 1.0


@pytest.mark.parametrize("method", METHODS)
def test_the_command_line_makes_a_head(
    photo: Path, method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "head.capture"
    settings = [text for name, value in short(method).items() for text in ("--set", f"{name}={value}")]
    monkeypatch.setattr(sys, "argv", ["tpn", "capture", str(photo), "-o", str(path), "--method", method, *settings])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    made = Capture.load(path).provenance
    assert (made["method"], made["model"]["name"]) == (method, "synthetic-heads")
