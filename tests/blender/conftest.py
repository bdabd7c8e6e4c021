"""A Blender profile of its own, and the built zip installed in it as an artist would."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from places import ENGINE_PYTHON, EXTENSION, REPOSITORY

_profile = tempfile.mkdtemp(prefix="head-capture-blender-")
atexit.register(shutil.rmtree, _profile, ignore_errors=True)
os.environ["BLENDER_USER_RESOURCES"] = _profile

import bpy  # noqa: E402  # after it has its profile

_status = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all that the run writes."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def extension(work: Path) -> ModuleType:
    """The extension, installed from `dist/` and told where the engine is."""
    (path,) = (REPOSITORY / "dist").glob("head_capture-*.zip")
    bpy.ops.extensions.package_install_files(filepath=str(path), repo="user_default", enable_on_install=True)
    assert EXTENSION in bpy.context.preferences.addons, "Blender did not enable the extension"
    preferences = bpy.context.preferences.addons[EXTENSION].preferences
    preferences.engine_python = str(ENGINE_PYTHON)
    preferences.cache_folder = str(work / "captures")
    preferences.device = "cpu"
    return sys.modules[EXTENSION]


@pytest.fixture(scope="session")
def photo(work: Path) -> Path:
    """NASA's photo of Eileen Collins, in the public domain; scikit-image, which has it, is in the engine's Python."""
    path = work / "Eileen Collins.jpg"
    code = "import sys, skimage.data as d, PIL.Image as i; i.fromarray(d.astronaut()).save(sys.argv[1], quality=95)"
    subprocess.run([ENGINE_PYTHON, "-c", code, path], check=True)
    return path


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends a session with Blender 4.2 at once: its module crashes at exit after a glTF export."""
    if bpy.app.version < (4, 3):
        shutil.rmtree(_profile, ignore_errors=True)
        sys.stdout.flush()
        os._exit(config.stash.get(_status, 1))
