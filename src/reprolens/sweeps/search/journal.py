"""The lock of a journal file, as a lock of the kernel."""

import os
from contextlib import ExitStack
from pathlib import Path

from reprolens.sweeps.locks import held


class JournalLock:
    """What Optuna's journal asks of a lock.

    Optuna's own lock files outlive a killed process and stop everybody for 30 s. A process killed, or a disk full, in
    the middle of a line would also damage the next line; whoever takes the lock next therefore removes such a rest.
    """

    def __init__(self, journal: Path) -> None:
        self._journal, self._file = journal, journal.with_name(f"{journal.name}.lock")
        self._held = ExitStack()

    def acquire(self) -> bool:
        """Wait for the lock."""
        with ExitStack() as stack:
            stack.enter_context(held(self._file, wait=True))
            self._cut_rest()
            self._held = stack.pop_all()
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._held.close()

    def _cut_rest(self) -> None:
        with self._journal.open("rb+") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
