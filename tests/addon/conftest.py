"""Gives Blender a profile of its own, and the add-on a place on the path, before any test imports them."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_profile = tempfile.mkdtemp(prefix="head-capture-blender-")
atexit.register(shutil.rmtree, _profile, ignore_errors=True)
os.environ["BLENDER_USER_RESOURCES"] = _profile
sys.path.insert(0, str(Path(__file__).parents[2]))  # the add-on is not part of the engine's distribution

_status = pytest.StashKey[int]()


@pytest.fixture
def scene():
    """An empty scene of a fresh Blender session, with Blender's default settings."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights that is done in a second."""
    from tiny_model import tiny_weights

    return tiny_weights(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment's interpreter with nothing installed, not even pip."""
    folder = tmp_path_factory.mktemp("bare") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends a session with Blender 4.2 at once: its module crashes at exit after a glTF export."""
    bpy = sys.modules.get("bpy")
    if bpy is not None and bpy.app.version < (4, 3):
        shutil.rmtree(_profile, ignore_errors=True)
        sys.stdout.flush()
        os._exit(config.stash.get(_status, 1))
