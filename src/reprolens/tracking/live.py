"""A training seen on the server while it runs: a process beside it sends each epoch's row of the history.

It is a process of its own, so that nothing which happens to the network, to wandb or to its service can hold up or harm
the training, and so that it can close the run in good order when the training is killed. The training writes a line to
it after every epoch; what is to be sent is read from reports/history.csv, which is the truth.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from reprolens.config import Config
from reprolens.config.schema import Mode, Unreachable
from reprolens.errors import StoppedError, TrackingError
from reprolens.secrets import without_secrets
from reprolens.tracking.failure import LONGEST, note_training

PROGRAM = "reprolens.tracking.stream"

OPEN = "open"
"""What the process says on its output once it has the run; else it says why not."""

GRACE = 30.0
"""Seconds that a finished training waits for its last rows to be sent. What is left then, the track stage sends."""


@contextmanager
def live(root: Path, config: Config, fingerprint: str) -> Iterator[Callable[[], None]]:
    """Show the training in `root` on the server, if the configuration says online; yield what to call after an epoch.

    The run is the one that the track stage completes. It is closed as finished, or as failed with the error, or, where
    a signal stopped the training, as preempted. Without key or server a line on standard error says so and training
    goes on; by tracking.unreachable it raises TrackingError before it begins.
    """
    if config.tracking.mode != Mode.disabled:
        note_training(root, fingerprint)
    if config.tracking.mode != Mode.online:
        yield lambda: None
        return
    process = subprocess.Popen(
        [sys.executable, "-m", PROGRAM, str(root.resolve()), fingerprint, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C at the terminal is for the training, which then says how it ended
    )
    assert process.stdin is not None and process.stdout is not None
    if config.tracking.unreachable == Unreachable.fail:
        answer = process.stdout.readline().decode().strip()
        if answer != OPEN:
            process.wait()
            raise TrackingError(f"tracking.mode: online, but {answer or 'its process ended'}")
    ended: dict[str, str] = {"state": "failed"}
    try:
        yield lambda: _say(process.stdin, "")
        ended = {"state": "finished"}
    except StoppedError:
        ended = {"state": "stopped"}
        raise
    except Exception as error:
        ended["error"] = without_secrets(str(error) or type(error).__name__)[:LONGEST]  # a pipe holds only so much
        raise
    finally:
        _say(process.stdin, json.dumps(ended))
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _say(stream: IO[bytes] | None, line: str) -> None:
    """Write a line to the process, if it still is there."""
    assert stream is not None
    with suppress(OSError, ValueError):
        stream.write(f"{line}\n".encode())
        stream.flush()
