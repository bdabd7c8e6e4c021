"""`python3 drag_file.py FILE X Y`, inside the root: drops a file on the window there, as a file manager would."""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from Xlib import X, Xatom, display
from Xlib.protocol import event

PATIENCE = 20.0  # seconds


class Drag:
    """The source of one drag; the names are those of the XDND protocol."""

    def __init__(self, path: Path, x: int, y: int) -> None:
        self.display = display.Display()
        root = self.display.screen().root
        self.window = root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
        self.place = x << 16 | y
        self.content = f"{path.as_uri()}\r\n".encode()
        self.target, self.version = self._find_target(root)

    def _atom(self, name: str) -> int:
        return self.display.intern_atom(name)

    def _find_target(self, root: Any) -> tuple[Any, int]:
        """The window that takes drops, and the newest protocol it knows."""
        for window in root.query_tree().children:
            aware = window.get_full_property(self._atom("XdndAware"), Xatom.ATOM)
            if aware is not None:
                return window, min(5, aware.value[0])
        raise SystemExit("No window takes drops.")

    def drop(self) -> None:
        """The whole drag; ends when the target has taken the file."""
        self.window.set_selection_owner(self._atom("XdndSelection"), X.CurrentTime)
        self._tell("XdndEnter", self.version << 24, self._atom("text/uri-list"), 0, 0)
        for _ in range(3):  # a hand that moves
            self._tell("XdndPosition", 0, self.place, X.CurrentTime, self._atom("XdndActionCopy"))
            self._serve_until("XdndStatus")
            time.sleep(0.2)
        self._tell("XdndDrop", 0, X.CurrentTime, 0, 0)
        self._serve_until("XdndFinished")

    def _tell(self, name: str, *numbers: int) -> None:
        message = event.ClientMessage(
            window=self.target, client_type=self._atom(name), data=(32, [self.window.id, *numbers])
        )
        self.target.send_event(message)
        self.display.flush()

    def _serve_until(self, name: str) -> None:
        """Hands the file's name to whoever asks, until the target has sent this message."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if not self.display.pending_events():
                time.sleep(0.01)
                continue
            happened = self.display.next_event()
            if happened.type == X.SelectionRequest:
                self._hand_over(happened)
            elif happened.type == X.ClientMessage and happened.client_type == self._atom(name):
                return
        raise SystemExit(f"The window never sent {name}.")

    def _hand_over(self, request: Any) -> None:
        request.requestor.change_property(request.property, request.target, 8, self.content)
        answer = event.SelectionNotify(
            time=request.time,
            requestor=request.requestor,
            selection=request.selection,
            target=request.target,
            property=request.property,
        )
        request.requestor.send_event(answer)
        self.display.flush()


if __name__ == "__main__":
    Drag(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])).drop()
