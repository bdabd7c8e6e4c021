"""What `build_addon.py` puts in the extension. A stand-in for the wheel: `make test-blender` builds the true one."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import tomllib

import build_addon
from tpn_engine.version import __version__

WHEEL = "tpn_engine-0.0.1-py3-none-any.whl"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_wheel(out: Path) -> Path:
        build_addon.write_zip(out / WHEEL, {"tpn_engine/__init__.py": b""})
        return out / WHEEL

    monkeypatch.setattr(build_addon, "build_wheel", build_wheel)


@pytest.mark.usefixtures("stand_in")
def test_blender_accepts_the_extension_and_finds_it_in_the_index(tmp_path):
    extension, _, index = build_addon.build(tmp_path)
    assert extension.name == f"head_capture-{__version__}.zip"
    (entry,) = json.loads(index.read_text())["data"]
    assert (entry["id"], entry["version"], entry["type"]) == ("head_capture", __version__, "add-on")
    assert entry["archive_url"] == f"./{extension.name}"
    assert entry["archive_size"] == extension.stat().st_size
    with zipfile.ZipFile(extension) as file:
        names = file.namelist()
        assert tomllib.loads(file.read("blender_manifest.toml").decode())["version"] == __version__
    assert names == sorted(names)
    assert {"__init__.py", "blender_manifest.toml", "LICENSE", f"engine_wheel/{WHEEL}"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", "/"))]
    assert not [name for name in names if name.endswith(".whl") and not name.startswith("engine_wheel/")]


@pytest.mark.usefixtures("stand_in")
def test_the_same_sources_give_the_same_bytes_and_older_builds_go(tmp_path):
    (tmp_path / "head_capture-0.0.0.zip").write_bytes(b"old")
    first = [path.read_bytes() for path in build_addon.build(tmp_path)]
    assert [path.read_bytes() for path in build_addon.build(tmp_path)] == first
    assert len(list(tmp_path.iterdir())) == 3


@pytest.fixture
def addon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest extension, in place of the true one."""
    folder = tmp_path / "clone" / "blender_addon"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "blender_manifest.toml").write_text('schema_version = "1.0.0"\nid = "head_capture"\nversion = "9.9.9"\n')
    monkeypatch.setattr(build_addon, "ADDON", folder)
    monkeypatch.setattr(build_addon, "ROOT", folder.parent)
    (folder.parent / "tpn_engine").mkdir()
    (folder.parent / "tpn_engine" / "version.py").write_text('__version__ = "1.2.3"\n')
    return folder


def test_the_manifest_gets_the_engines_version(addon):
    assert build_addon.read_version() == "1.2.3"
    manifest = tomllib.loads(build_addon.manifest_text("1.2.3"))
    assert (manifest["version"], manifest["schema_version"]) == ("1.2.3", "1.0.0")


@pytest.mark.parametrize("version", ["1.2", "1.2.3.dev0", ""])
def test_a_version_blender_cant_read_stops_the_build(addon, version):
    (addon.parent / "tpn_engine" / "version.py").write_text(f'__version__ = "{version}"\n')
    with pytest.raises(build_addon.BuildError, match="three numbers"):
        build_addon.read_version()


def test_what_does_not_belong_stops_the_build(addon):
    for kept_out in ("__pycache__/a.pyc", ".idea/x.xml", "engine_wheel/old.whl"):
        (addon / kept_out).parent.mkdir()
        (addon / kept_out).write_bytes(b"")
    assert [path.name for path in build_addon.addon_files()] == ["__init__.py", "blender_manifest.toml"]
    (addon / "portrait.jpg").write_bytes(b"")
    with pytest.raises(build_addon.BuildError, match=r"portrait\.jpg does not belong"):
        list(build_addon.addon_files())


@pytest.mark.usefixtures("stand_in")
def test_blenders_complaint_is_passed_on(addon, tmp_path):
    with pytest.raises(build_addon.BuildError, match=r"(?s)validate.*failed.*missing"):
        build_addon.build(tmp_path / "dist")
