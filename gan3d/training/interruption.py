"""Stopping a run from outside without losing work."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop, and has saved its state.

    Attributes:
      signal_number: what asked it.
    """

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.signal_number = signal_number


class StopSignals:
    """Within this context SIGTERM and SIGINT only ask the run to stop after the current step.

    The second signal acts as it would have without this. Python delivers signals to the main thread
    alone, so in any other one this does nothing.

    Attributes:
      received: number of the first signal, or None.
    """

    def __init__(self):
        self.received: int | None = None
        self._previous = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exception: object) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self._restore()
        name = signal.Signals(number).name
        # Unbuffered: print is not safe here, the handler may have interrupted a print.
        os.write(2, f"{name}: finishing this step and saving; once more stops at once\n".encode())

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
