"""Signals while training: SIGTERM and Ctrl-C are noted, so that the loop can save at the end of its step."""

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


def leave_deaths_to_loader() -> None:
    """Undo torch's handler of SIGCHLD, set when loader processes start: it raises in the middle of a step if one dies.

    A step is taken whole or not at all. The loader itself sees within seconds that a batch will not come, and raises.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
