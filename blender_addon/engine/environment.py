# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own Python environment: made, renewed and removed by child processes, never Blender's own."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .child import LINES, Child
from .errors import EngineError, plain
from .pythons import NEWEST, OLDEST, find_base_pythons
from .torch_build import torch_index

REQUIREMENT = "tpn-engine[server]"
MARK = "head_capture.json"  # written last: an environment without it is half made
PIP_WITH_RAW_BAR = (24, 1)
REMOVE_SECONDS = 0.02  # of deleting in one step

State = Literal["running", "done", "failed", "cancelled"]

__all__ = ["Environment", "EnvironmentJob", "InstallSource", "find_base_pythons"]

_PROGRESS = re.compile(r"Progress ([0-9]{1,15}) of ([0-9]{1,15})")
_ASK_BASE = "import ensurepip, json, sys, venv; print(json.dumps([list(sys.version_info[:2]), sys.maxsize > 2**32]))"
_ASK_ENGINE = (
    "import torch, server.front, server.__main__; from tpn_engine.version import __version__; "
    "print('tpn-engine', __version__)"
)
_NETWORK_SIGNS = ("Retrying (Retry", "error: connection-", "NewConnectionError", "name resolution", "ProxyError")
# Of the user's settings for pip, those that would send packages elsewhere.
_PIP = {
    "PIP_USER": "0",
    "PIP_TARGET": "",
    "PIP_PREFIX": "",
    "PIP_ROOT": "",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


@dataclass(frozen=True)
class InstallSource:
    """Where the engine comes from: `wheel` is the engine's own; what it needs is taken from `folder`, or from PyPI.

    With a `folder` of wheels nothing is asked of the network. `online`: whether the user allows it at all.
    """

    wheel: Path | None
    folder: Path | None
    online: bool


@dataclass(frozen=True)
class _Outcome:
    """How a command ended."""

    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class _Command:
    """One child process of a job; `stage` is for people."""

    stage: str
    arguments: Sequence[str | Path]


# Yields a command and is sent its outcome, or yields None to be called again soon.
_Plan = Generator[_Command | None, _Outcome | None, None]


class EnvironmentJob:
    """Work on an environment; `step` it until `state` is no longer running.

    `lines` is what the programs print; `fraction` is of the file that is being downloaded, None without one.
    """

    def __init__(self, plan: _Plan, folder: Path) -> None:
        self.state: State = "running"
        self.stage = ""
        self.fraction: float | None = None
        self.lines: list[str] = []
        self.error = ""
        self._plan = plan
        self._folder = folder
        self._child: Child | None = None
        self._first_line = 0

    def step(self) -> bool:
        """Go on without waiting for anything; whether it is over."""
        if self.state != "running":
            return True
        try:
            self._go_on()
        except StopIteration:
            self.state, self.fraction = "done", 1.0
        except EngineError as error:
            self.state, self.error = "failed", error.message
        except OSError as error:
            self.state, self.error = "failed", _why_not_writable(error)
        return self.state != "running"

    def cancel(self) -> None:
        """End the child process; what is half made is recognised as such."""
        if self.state == "running":
            if self._child is not None:
                self._child.kill()
            self._plan.close()
            self.state = "cancelled"

    def _go_on(self) -> None:
        outcome = None
        if self._child is not None:
            code = self._child.returncode
            for line in self._child.new_lines():
                self._show(line)
            if code is None:
                return
            self._child = None
            outcome = _Outcome(code, self.lines[self._first_line :])
        command = next(self._plan) if outcome is None else self._plan.send(outcome)
        if command is not None:
            self.stage = command.stage
            self.lines.append(f"{command.stage} ...")
            self._first_line = len(self.lines)
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            self._child = Child(command.arguments, self._folder.parent, _PIP)

    def _show(self, line: str) -> None:
        progress = _PROGRESS.fullmatch(line)
        if progress:
            self.fraction = min(1.0, int(progress[1]) / max(1, int(progress[2])))
            return
        self.fraction = None
        self.lines.append(line)
        surplus = len(self.lines) - LINES
        if surplus > 0:
            del self.lines[:surplus]
            self._first_line = max(0, self._first_line - surplus)


class Environment:
    """The environment in `folder`, which holds nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def python(self) -> Path:
        """Its interpreter, whether it is there or not."""
        windows = sys.platform == "win32"
        return self.folder / "Scripts" / "python.exe" if windows else self.folder / "bin" / "python"

    @property
    def installed(self) -> str | None:
        """The version of the engine in it; None unless it was made to the end and its Python is still there."""
        try:
            mark = json.loads((self.folder / MARK).read_text(encoding="utf-8"))
            version = mark["version"]
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return version if isinstance(version, str) and self._interpreter_works() else None

    @property
    def half_made(self) -> bool:
        """Whether something is there that Repair can make whole."""
        return self.installed is None and self._is_environment()

    def set_up(self, base_python: Path, source: InstallSource) -> EnvironmentJob:
        """Make it with `base_python`, anew if there is one already."""
        return self._job(self._set_up(base_python, source))

    def repair(self, base_python: Path, source: InstallSource) -> EnvironmentJob:
        """Make it anew, whatever state it is in."""
        return self.set_up(base_python, source)

    def update(self, source: InstallSource) -> EnvironmentJob:
        """Install the newest engine the source has into the environment there is."""
        return self._job(self._update(source))

    def remove(self) -> EnvironmentJob:
        """Delete it."""
        return self._job(self._remove())

    def _job(self, plan: _Plan) -> EnvironmentJob:
        return EnvironmentJob(plan, self.folder)

    def _set_up(self, base_python: Path, source: InstallSource) -> _Plan:
        if self.folder.exists() and not self._is_environment() and any(self.folder.iterdir()):
            raise EngineError(
                "environment", f"{self.folder} holds other files: move them away, the engine needs it for itself."
            )
        requirements = _requirements(source)
        outcome = yield _Command("Looking at Python", [base_python, "-I", "-X", "utf8", "-c", _ASK_BASE])
        version = _checked_version(base_python, outcome)
        self._unmark()
        outcome = yield _Command(
            "Making the environment", [base_python, "-I", "-X", "utf8", "-m", "venv", "--clear", self.folder]
        )
        if outcome is None or outcome.code != 0 or not self.python.exists():
            raise EngineError(
                "environment",
                f"{base_python} can't make an environment: choose another Python. {_last(outcome)}",
            )
        yield from self._install(source, requirements, version)

    def _update(self, source: InstallSource) -> _Plan:
        if not self._interpreter_works():
            raise EngineError("environment", "There is no environment to update: press Set Up Engine or Repair.")
        requirements = _requirements(source)
        self._unmark()
        yield from self._install(source, requirements, "the environment's Python")

    def _install(self, source: InstallSource, requirements: list[str], version: str) -> _Plan:
        pip = [self.python, "-I", "-X", "utf8", "-m", "pip"]
        if source.folder is None:  # the one that comes with a Python is years old; it will do if this fails
            renew = ["install", "--upgrade", "--retries", "1", "--progress-bar", "off", "pip"]
            yield _Command("Renewing pip", [*pip, *renew])
        outcome = yield _Command("Looking at pip", [*pip, "--version"])
        bar = "raw" if _pip_version(outcome) >= PIP_WITH_RAW_BAR else "off"
        # Nothing is compiled on an artist's machine: that needs tools, minutes and luck.
        install = [*pip, "install", "--only-binary", ":all:", "--progress-bar", bar]
        index = torch_index() if source.folder is None else None
        if index is not None:  # by itself, and PyPI's will do: a site that is blocked must not be asked 40 times
            options = ["--no-deps", "--retries", "1", "--index-url", index]
            yield _Command("Installing torch (this can take some minutes)", [*install, *options, "torch"])
        command = [*install, "--upgrade", *requirements]
        outcome = yield _Command("Installing the engine (this can take some minutes)", command)
        if outcome is None or outcome.code != 0:
            raise EngineError("environment", _why_pip_failed(outcome, source, version))
        outcome = yield _Command("Checking the engine", [self.python, "-I", "-X", "utf8", "-c", _ASK_ENGINE])
        found = re.findall(r"^tpn-engine (\S+)$", outcome.text if outcome else "", re.MULTILINE)
        if outcome is None or outcome.code != 0 or not found:
            raise EngineError("environment", _why_it_does_not_run(outcome))
        self._mark(found[-1])

    def _remove(self) -> _Plan:
        if not self.folder.exists():
            return
        if not self._is_environment() and any(self.folder.iterdir()):
            raise EngineError("environment", f"{self.folder} is not the engine's: remove it yourself if it may go.")
        self._unmark()
        end = time.monotonic() + REMOVE_SECONDS
        for path, is_folder in _everything_in(self.folder):
            _delete(path, is_folder)
            if time.monotonic() > end:
                yield None
                end = time.monotonic() + REMOVE_SECONDS

    def _is_environment(self) -> bool:
        return (self.folder / "pyvenv.cfg").is_file() or (self.folder / MARK).is_file()

    def _interpreter_works(self) -> bool:
        """Whether it and the Python it was made with are there: an upgraded Blender takes its own away."""
        try:
            settings = (self.folder / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        home = re.search(r"^home *= *(.+?) *$", settings, re.MULTILINE)
        return self.python.exists() and home is not None and Path(home[1]).is_dir()

    def _mark(self, version: str) -> None:
        unfinished = self.folder / f"{MARK}.unfinished"
        unfinished.write_text(json.dumps({"version": version}), encoding="utf-8")
        os.replace(unfinished, self.folder / MARK)

    def _unmark(self) -> None:
        """From here on it is half made; it must stay recognisable as ours, too."""
        with suppress(FileNotFoundError):
            (self.folder / MARK).unlink()


def _requirements(source: InstallSource) -> list[str]:
    """pip's arguments. Raises EngineError where nothing can be installed from."""
    if source.wheel is not None and not source.wheel.is_file():
        raise EngineError("environment", f"There is no wheel at {source.wheel}: choose another one.")
    if source.folder is not None and not source.folder.is_dir():
        raise EngineError("environment", f"There is no wheel folder at {source.folder}: choose another one.")
    if source.wheel is None and source.folder is None:
        raise EngineError("environment", "Choose the engine's wheel, or a folder of wheels, in the preferences.")
    if source.folder is None and not source.online:
        raise EngineError(
            "environment",
            "Blender may not use the network: allow online access in Preferences > System, or choose a wheel folder.",
        )
    engine = REQUIREMENT if source.wheel is None else f"{source.wheel}[server]"
    if source.folder is not None:
        return [engine, "--no-index", "--find-links", str(source.folder)]
    return [engine]


def _pip_version(outcome: _Outcome | None) -> tuple[int, int]:
    found = re.search(r"^pip ([0-9]{1,9})\.([0-9]{1,9})", outcome.text if outcome else "", re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _checked_version(python: Path, outcome: _Outcome | None) -> str:
    text = outcome.text if outcome else ""
    if "No module named" in text:
        raise EngineError(
            "environment",
            f"{python} can't make environments ({_last(outcome)}): install python3-venv, or choose another Python.",
        )
    try:
        (major, minor), is_64_bit = json.loads(text.splitlines()[-1])
        version = (int(major), int(minor))
    except (ValueError, TypeError, IndexError, RecursionError):
        raise EngineError("environment", f"{python} is not a Python that works. {_last(outcome)}") from None
    if not OLDEST <= version <= NEWEST or not is_64_bit:
        wanted = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        raise EngineError(
            "environment",
            f"{python} is Python {major}.{minor}; the engine needs a 64-bit Python {wanted}: choose another.",
        )
    return f"Python {major}.{minor}"


def _why_pip_failed(outcome: _Outcome | None, source: InstallSource, version: str) -> str:
    text = outcome.text if outcome else ""
    missing = re.findall(r"No matching distribution found for ([^\s;(]+)", text)
    if "No space left on device" in text or "not enough space" in text:
        return "The disk is full: free 3 GB (10 GB for an NVIDIA card) and press Set Up Engine again."
    if source.folder is None and any(sign in text for sign in _NETWORK_SIGNS):
        return "The packages could not be fetched: check the network and press Set Up Engine again."
    if missing and source.folder is not None:
        return f"The wheel folder has no {missing[0]} for {version} on this system: add it, or use another folder."
    if missing:
        return f"There is no {missing[0]} for {version} on this system: choose another Python."
    if "not a supported wheel" in text:
        return f"The engine's wheel does not fit {version} on this system: choose another one."
    return f"The engine could not be installed. {_last(outcome)}"


def _why_it_does_not_run(outcome: _Outcome | None) -> str:
    text = outcome.text if outcome else ""
    if "WinError 126" in text or "DLL load failed" in text:
        return "Torch needs the Microsoft Visual C++ Redistributable (x64): install it and press Repair."
    return f"The engine was installed but does not run: press Repair. {_last(outcome)}"


def _why_not_writable(error: OSError) -> str:
    name = f" {error.filename}" if error.filename else ""
    reason = plain(f"{error.strerror or error}{name}", 300)
    return f"The engine's folder can't be changed ({reason}): stop the engine, make room on the disk, and try again."


def _last(outcome: _Outcome | None) -> str:
    """The line that says most: pip's error, else the last one."""
    lines = outcome.lines if outcome else []
    errors = [line for line in lines if line.startswith(("ERROR:", "× "))]
    return plain((errors or lines or [""])[-1], 300)


def _everything_in(folder: Path) -> Generator[tuple[Path, bool], None, None]:
    """All files and folders from the inside out; links are not followed."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in files:
            yield Path(parent, name), False
        for name in folders:
            path = Path(parent, name)
            yield path, not path.is_symlink()
    yield folder, True


def _delete(path: Path, is_folder: bool) -> None:
    delete = path.rmdir if is_folder else path.unlink
    try:
        delete()
    except FileNotFoundError:
        return
    except PermissionError:
        path.chmod(stat.S_IRWXU)  # Windows refuses files that are marked read-only
        delete()
