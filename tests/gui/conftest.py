"""The Debian root that `make test-gui` builds, and the extension's zip."""

from __future__ import annotations

from pathlib import Path

import pytest
from blender_window import REPOSITORY

GUI = REPOSITORY / ".gui"


@pytest.fixture(scope="session")
def root() -> Path:
    """The root with a Blender in it. Skips where it can't be built, in the words of `make_root.sh`."""
    if (GUI / "root").is_dir():
        return GUI / "root"
    if (GUI / "why_not").exists():
        pytest.skip((GUI / "why_not").read_text().strip())
    raise FileNotFoundError("Run `make test-gui`: it builds the root that these tests need.")


@pytest.fixture(scope="session")
def extension() -> Path:
    """The built zip."""
    (path,) = (REPOSITORY / "dist").glob("head_capture-*.zip")
    return path


@pytest.fixture(scope="session")
def pictures() -> Path:
    """Where the screenshots are kept."""
    folder = GUI / "pictures"
    folder.mkdir(exist_ok=True)
    return folder
