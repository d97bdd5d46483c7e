"""SIGTERM and Ctrl-C while training: noted, so that the loop can save a checkpoint at the end of its step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """`received` is the name of the signal that came, None so far."""

    received: str | None = None


@contextmanager
def noted_signals() -> Iterator[Interruption]:
    """Note SIGTERM and SIGINT instead of dying of them; a second one kills. Only the main thread can take signals."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame: FrameType | None) -> None:
        interruption.received = signal.Signals(number).name
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
