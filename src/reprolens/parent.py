"""A process that ends when the one that started it is gone, however that happened."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends when the thread that made this process ends."""


def die_with_parent(parent: int | None = None, by: signal.Signals = signal.SIGKILL) -> None:
    """Let the kernel send this process `by` when its parent dies; so that nothing works on unseen. Linux only.

    `parent` is the process that should be there: if it ended before this call, the signal is sent at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, by)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), by)
