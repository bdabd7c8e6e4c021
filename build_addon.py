"""Builds the Blender extension: `python build_addon.py` fills `dist/` with all that a release consists of.

    dist/head_capture-<version>.zip     the extension, with the engine's wheel inside: drop it on Blender
    dist/tpn_engine-<version>-*.whl     the same wheel, for people who want the engine alone
    dist/index.json                     lists the zip: the folder, put on any web server, is a Blender repository

The version is that of `tpn_engine/version.py`. The same sources give the same bytes.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ADDON = ROOT / "blender_addon"
EXTENSION = "head_capture"
WHEEL_FOLDER = "engine_wheel"  # where the installed extension looks for the engine to set up
MANIFEST = "blender_manifest.toml"

# What may be in the extension; a file of another kind is a mistake and stops the build.
KINDS = {".py", ".toml", ".json", ".md", ".txt", ".png", ".svg"}
PLAIN_NAMES = {"LICENSE"}

# What the engine's wheel is built from. Anything else in the clone (old builds above all) stays out of it.
WHEEL_SOURCES = ("pyproject.toml", "README.md", "LICENSE", "tpn_engine", "server")

EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can say; every entry gets it
EPOCH = "315532800"  # the same moment, for setuptools


class BuildError(Exception):
    """What stopped the build, as a sentence for the person who runs it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the results (default: dist)")
    try:
        for path in build(parser.parse_args().out):
            print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    except BuildError as error:
        print(f"build_addon: {error}", file=sys.stderr)
        return 1
    return 0


def build(out: Path) -> list[Path]:
    """Makes the wheel, the extension and the index in `out`; what older versions left there goes.

    Returns the files made. Without an installed Blender (bpy, or `blender` on the path) the manifest
    is not checked and there is no index; a line says so. Raises BuildError.
    """
    out.mkdir(parents=True, exist_ok=True)
    for pattern in (f"{EXTENSION}-*.zip", "tpn_engine-*.whl", "index.json"):
        for old in out.glob(pattern):
            old.unlink()
    version = read_version()
    wheel = build_wheel(out)
    extension = out / f"{EXTENSION}-{version}.zip"
    write_zip(extension, extension_entries(version, wheel))
    tool = blender_tool()
    if tool is None:
        print("No Blender here (pip install bpy): the manifest was not checked and there is no index.json.")
        return [extension, wheel]
    run_tool([*tool, "validate", str(extension)])
    run_tool([*tool, "server-generate", "--repo-dir", str(out)])
    return [extension, wheel, out / "index.json"]


def read_version() -> str:
    """The version in `tpn_engine/version.py`, read without importing the engine. Raises BuildError."""
    found = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', (ROOT / "tpn_engine/version.py").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError("tpn_engine/version.py must say the version as Blender reads it: three numbers, 1.2.3.")
    return found[1]


def manifest_text(version: str) -> str:
    """The manifest with this version in it, whatever the sources say. Raises BuildError."""
    text = (ADDON / MANIFEST).read_text(encoding="utf-8")
    text, count = re.subn(r'^version = ".*"$', f'version = "{version}"', text, flags=re.MULTILINE)
    if count != 1:
        raise BuildError(f"blender_addon/{MANIFEST} must have exactly one line 'version = \"...\"'.")
    return text


def addon_files() -> Iterator[Path]:
    """The extension's own files. Raises BuildError for a file that has no business there."""
    for path in sorted(ADDON.rglob("*")):
        names = path.relative_to(ADDON).parts
        if path.is_dir() or "__pycache__" in names or WHEEL_FOLDER in names or any(name[0] == "." for name in names):
            continue
        if path.suffix not in KINDS and path.name not in PLAIN_NAMES:
            raise BuildError(f"{path.relative_to(ROOT)} does not belong in the extension: move it elsewhere.")
        yield path


def extension_entries(version: str, wheel: Path) -> dict[str, bytes]:
    """All files of the extension by the name they have in the zip."""
    entries = {path.relative_to(ADDON).as_posix(): path.read_bytes() for path in addon_files()}
    entries[MANIFEST] = manifest_text(version).encode()
    entries[f"{WHEEL_FOLDER}/{wheel.name}"] = wheel.read_bytes()
    return entries


def write_zip(path: Path, entries: Mapping[str, bytes]) -> None:
    """A zip of `entries`, the same bytes for the same entries wherever and whenever it is made."""
    with zipfile.ZipFile(path, "w") as file:
        for name in sorted(entries):
            entry = zipfile.ZipInfo(name, EARLIEST)
            entry.create_system = 3  # Unix, on Windows too
            entry.external_attr = 0o100644 << 16
            # A wheel is compressed already.
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(".whl") else zipfile.ZIP_DEFLATED
            file.writestr(entry, entries[name], compresslevel=9)


def build_wheel(out: Path) -> Path:
    """The engine's wheel, from a clean copy of its sources. Raises BuildError."""
    with tempfile.TemporaryDirectory(prefix="tpn-engine-") as folder:
        sources, made = Path(folder) / "sources", Path(folder) / "wheel"
        sources.mkdir()
        for name in WHEEL_SOURCES:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy(ROOT / name, sources / name)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(made), str(sources)]
        run_tool(command, {"SOURCE_DATE_EPOCH": EPOCH})
        (wheel,) = made.glob("*.whl")
        with zipfile.ZipFile(wheel) as file:
            entries = {name: file.read(name) for name in file.namelist()}
        write_zip(out / wheel.name, entries)  # file modes and order depend on the disk
    return out / wheel.name


def blender_tool() -> list[str] | None:
    """The command of Blender's own packaging tool: that of an installed bpy, or of `blender` itself."""
    module = importlib.util.find_spec("bpy")
    for location in (module and module.submodule_search_locations) or ():
        for script in sorted(Path(location).glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")):
            return [sys.executable, str(script)]
    blender = shutil.which("blender")
    return [blender, "--command", "extension"] if blender else None


def run_tool(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Runs a program to its end. Raises BuildError with all it printed if it failed."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    raise SystemExit(main())
