"""A real Blender in a window on a virtual screen, with a mouse and a keyboard."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
WIDTH, HEIGHT = 1280, 800
SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"  # inside the root
PATIENCE = 120.0  # seconds after which a test has failed; nothing here waits so long where it works
STEP = 9  # pixels, less than the height of a button


class BlenderWindow:
    """Blender in the Debian root `root`, which also sees `folders`; `work` is its folder for all that it writes."""

    def __init__(self, root: Path, work: Path, folders: Sequence[Path] = ()) -> None:
        self.root, self.work = root, work
        self._folders = {REPOSITORY, Path(sys.base_prefix), work, *folders}
        self._commands = 0
        self._button_places: dict[str, tuple[int, int]] = {}
        self._last_height = 0
        reader, writer = os.pipe()
        self.screen = self._start(
            ["Xvfb", "-displayfd", str(writer), "-screen", "0", f"{WIDTH}x{HEIGHT}x24"], "screen.log", keep=(writer,)
        )
        os.close(writer)
        with os.fdopen(reader) as pipe:
            self.display = f":{pipe.readline().strip()}"
        command = ["blender", "--factory-startup", "-p", "0", "0", str(WIDTH), str(HEIGHT)]
        self.blender = self._start([*command, "--python", str(HERE / "driver.py")], "blender.log")
        self.run("answer = bpy.app.version_string")

    def _start(self, command: Sequence[str], log: str, keep: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "PATH": SYSTEM_PATH,
            "DISPLAY": getattr(self, "display", ""),
            "HEAD_CAPTURE_WORK": str(self.work),
            "BLENDER_USER_RESOURCES": str(self.work / "profile"),
            "HOME": str(self.work),
            "OMP_WAIT_POLICY": "passive",
        }
        with open(self.work / log, "wb") as output:
            return subprocess.Popen(
                ["sh", str(HERE / "enter.sh"), str(self.root), *map(str, sorted(self._folders)), "--", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=keep,
            )

    def close(self) -> None:
        """Ends Blender and the screen, whatever state they are in."""
        for process in (self.blender, self.screen):
            process.kill()
            process.wait()

    def kill_blender(self) -> None:
        """kill -9."""
        self.blender.send_signal(signal.SIGKILL)
        self.blender.wait()

    def run(self, code: str) -> Any:
        """Runs Python inside Blender between two turns of its loop; what it left in `answer`."""
        number = self._commands
        self._commands += 1
        command, answer = self.work / f"command-{number}.py", self.work / f"answer-{number}.json"
        command.with_suffix(".part").write_text(code, encoding="utf-8")
        os.replace(command.with_suffix(".part"), command)
        self._wait(answer.exists, f"no answer to {code!r}")
        content = json.loads(answer.read_text(encoding="utf-8"))
        if "error" in content:
            raise AssertionError(content["error"])
        return content["answer"]

    def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """The first true value of a Python expression inside Blender."""
        end = time.monotonic() + seconds
        while not (value := self.run(f"answer = {expression}")):
            assert time.monotonic() < end, f"{expression} never came true"
            time.sleep(0.1)
        return value

    def settle(self) -> None:
        """Draws all anew, for what a command changed, and waits until that is done."""
        self.run("for area in bpy.context.window_manager.windows[0].screen.areas:\n    area.tag_redraw()")
        for _ in range(3):
            turn = self.run("answer = len(turns)")
            self.until(f"len(turns) > {turn + 2} or len(turns) < {turn}")

    def _wait(self, condition: Any, failure: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.blender.poll() is None, f"Blender has ended: {self.log()}"
            assert time.monotonic() < end, f"{failure}: {self.log()}"
            time.sleep(0.02)

    def log(self) -> str:
        return (self.work / "blender.log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def hands(self, *words: str | int | float) -> None:
        """xdotool's mouse and keyboard."""
        self._in_root("xdotool", *(str(word) for word in words))

    def screenshot(self, path: Path) -> None:
        """The whole screen as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._in_root("import", "-silent", "-window", "root", "png:-"))

    def _in_root(self, *command: str, stdin: bytes = b"") -> bytes:
        environment = {"PATH": SYSTEM_PATH, "DISPLAY": self.display, "HOME": "/tmp"}
        command = ("chroot", str(self.root), *command)
        done = subprocess.run(
            command, env=environment, input=stdin, check=True, stdout=subprocess.PIPE, timeout=PATIENCE
        )
        return done.stdout

    def move(self, x: int, y: int) -> None:
        """The mouse to a place on the screen; a second small step, since Blender may sleep through the first."""
        self.hands("mousemove", x, y, "sleep", 0.15, "mousemove_relative", 1, 0, "sleep", 0.15)

    def click(self, x: int, y: int) -> None:
        self.move(x, y)
        self.hands("sleep", 0.2, "mousedown", 1, "sleep", 0.15, "mouseup", 1)

    def drop_file(self, path: Path, x: int, y: int) -> None:
        """Drags a file from another program to a place on the screen."""
        self.move(x, y)
        drag = ["python3", "-", str(path), str(x), str(y)]
        self._in_root(*drag, stdin=(HERE / "drag_file.py").read_bytes())

    def key(self, name: str) -> None:
        self.hands("key", name)

    def open_tab(self, name: str) -> None:
        """Brings a tab of the sidebar to the front, once it is there."""
        end = time.monotonic() + PATIENCE
        while (
            self.run(f"""
with view3d("UI"):
    try:
        bpy.context.region.active_panel_category = {name!r}
    except (AttributeError, TypeError):
        pass  # not drawn yet
    answer = bpy.context.region.active_panel_category
""")
            != name
        ):
            assert time.monotonic() < end, f"The sidebar has no tab {name}"
            time.sleep(0.5)
        self.settle()

    def click_button(self, operator: str) -> None:
        """A click on the sidebar's button of an operator, found by moving the mouse over the sidebar."""
        self.click(*self.find_button(operator))

    def find_button(self, operator: str) -> tuple[int, int]:
        """Where in the sidebar the mouse is over the button of an operator."""
        x, top, bottom = self.run("""
with view3d("UI"):
    region = bpy.context.region
    answer = [region.x + region.width // 3, region.y + region.height, region.y]
""")
        # From where a button was last found outward: one that comes while work goes on stands in its place.
        start = self._button_places.get(operator, (x, self._last_height))[1]
        for y in [start, *sorted(range(HEIGHT - top + 4, HEIGHT - bottom, STEP), key=lambda y: abs(y - start))]:
            self.move(x, y)
            if self._under_mouse().startswith(f"bpy.ops.{operator}("):
                self._button_places[operator] = x, y
                self._last_height = y
                return x, y
        raise AssertionError(f"The sidebar has no button {operator}")

    def _under_mouse(self) -> str:
        """The call of the button under the mouse, as Blender copies it for Control-C."""
        return self.run("""
copy = bpy.ops.ui.copy_python_command_button
with view3d("UI"):
    bpy.context.window_manager.clipboard = ""
    if copy.poll():
        copy()
    answer = bpy.context.window_manager.clipboard
""")

    def engine(self) -> list[psutil.Process]:
        """The processes of the engine that this Blender started."""
        try:
            family = psutil.Process(self.blender.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [process for process in family if "python" in process.name()]
