"""How long work tells where it is and asks whether to go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tpn_engine.errors import CancelledError


@dataclass(frozen=True)
class Progress:
    """Reports stages and stops on request.

    `report(stage, fraction)` is called with the stage's name and the fraction of it
    that is done, in [0, 1]; `cancelled()` is asked between pieces of work.
    """

    report: Callable[[str, float], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def __call__(self, stage: str, fraction: float) -> None:
        """Report, then raise CancelledError if the user asked to stop."""
        if self.report is not None:
            self.report(stage, fraction)
        self.check()

    def check(self) -> None:
        """Raise CancelledError if the user asked to stop."""
        if self.cancelled is not None and self.cancelled():
            raise CancelledError("Cancelled.")


SILENT = Progress()
