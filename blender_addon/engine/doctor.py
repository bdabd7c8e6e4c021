# SPDX-FileCopyrightText: 2026 The Head Capture authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine's own doctor says."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Literal

from .child import Child
from .errors import EngineError

DOCTOR_SECONDS = 300.0

State = Literal["running", "done", "failed", "cancelled"]


class DoctorJob:
    """Runs the doctor of the environment whose interpreter is `python`; `lines` are its sentences.

    Done as soon as the doctor has spoken, well or not; failed if he could not be asked.
    """

    def __init__(self, python: Path) -> None:
        self.state: State = "running"
        self.lines: list[str] = []
        self.error = ""
        self._end = time.monotonic() + DOCTOR_SECONDS
        try:
            command = [python, "-I", "-X", "utf8", "-m", "tpn_engine", "doctor"]
            self._child = Child(command, Path(tempfile.gettempdir()), {"OMP_WAIT_POLICY": "passive", "NO_COLOR": "1"})
        except EngineError as error:
            self.state, self.error = "failed", f"{error.message} Press Set Up Engine in the preferences."

    def step(self) -> bool:
        """Take in what was said; whether it is over."""
        if self.state != "running":
            return True
        code = self._child.returncode
        self.lines += self._child.new_lines()
        if code is not None and any("No module named" in line for line in self.lines):
            self.state, self.error = "failed", "The engine's environment is not complete: press Repair."
        elif code is not None:
            self.state = "done" if code in (0, 1) else "failed"
            self.error = "" if self.state == "done" else f"The doctor broke off (exit code {code})."
        elif time.monotonic() > self._end:
            self._child.kill()
            self.state, self.error = "failed", "The doctor did not come to an end: press Repair."
        return self.state != "running"

    def cancel(self) -> None:
        """Stop it."""
        if self.state == "running":
            self._child.kill()
            self.state = "cancelled"
