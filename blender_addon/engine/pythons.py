# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Pythons on this machine that an environment can be made with."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

OLDEST, NEWEST = (3, 10), (3, 13)
PREFERRED = ((3, 11), (3, 12), (3, 13), (3, 10))  # Blender's own first: the one everything is tested with

_NAME = re.compile(r"python(3\.[0-9]+)(?:\.exe)?")


def find_base_pythons() -> list[Path]:
    """Pythons 3.10 to 3.13, the best first; none of them is started, so one may turn out not to work."""
    found: dict[Path, tuple[int, int]] = {}
    for path, version in _candidates():
        with suppress(OSError):
            real = path.resolve()
            if version in PREFERRED and real.is_file() and real.stat().st_size > 0 and real not in found:
                found[real] = version
    return sorted(found, key=lambda path: PREFERRED.index(found[path]))


def _candidates() -> Iterator[tuple[Path, tuple[int, int]]]:
    if sys.platform == "win32":
        yield from _registered()
        return
    folders = [Path(name) for name in os.environ.get("PATH", "").split(os.pathsep) if name]
    folders += [Path("/usr/local/bin"), Path("/usr/bin"), Path("/opt/homebrew/bin")]
    folders += Path("/Library/Frameworks/Python.framework/Versions").glob("3.*/bin")
    folders += Path.home().glob(".pyenv/versions/3.*/bin")
    for folder in folders:
        if folder.name == "shims":  # scripts that choose a Python by the folder they are called in
            continue
        for path in (*folder.glob("python3.[0-9]*"), folder / "python3"):
            match = _NAME.fullmatch(path.resolve().name)
            if match:
                yield path, _version(match[1])


def _registered() -> Iterator[tuple[Path, tuple[int, int]]]:
    """What installers wrote into the registry; the Store's placeholders are not there."""
    if sys.platform == "win32":
        import winreg

        for root in (winreg.HKEY_CURRENT_USER, winreg.HKEY_LOCAL_MACHINE):
            for minor in range(OLDEST[1], NEWEST[1] + 1):
                with suppress(OSError):
                    key = winreg.OpenKey(root, rf"Software\Python\PythonCore\3.{minor}\InstallPath")
                    with key:
                        yield Path(str(winreg.QueryValue(key, None)), "python.exe"), (3, minor)


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
