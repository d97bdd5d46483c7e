"""Locks between real processes: one holds, the others know it, and death of any kind frees."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reprolens.errors import SweepError
from reprolens.sweeps.locks import SweepBusyError, held, is_held

HOLDER = """
import sys
from pathlib import Path
from reprolens.sweeps.locks import held
with held(Path(sys.argv[1]), wait=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.readline()
"""

FORKER = """
import os, sys, time
from pathlib import Path
from reprolens.sweeps.locks import held
with held(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
"""

COUNTER = """
import sys, time
from pathlib import Path
from reprolens.sweeps.locks import held
total = Path(sys.argv[2])
for _ in range(20):
    with held(Path(sys.argv[1]), wait=True):
        value = int(total.read_text())
        time.sleep(0.001)
        total.write_text(str(value + 1))  # loses additions unless it is done by one process at a time
"""


@contextmanager
def holder(lock: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold a lock."""
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_second_process_is_told_at_once_who_holds_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "sweep" / ".lock"
    with holder(lock) as process:
        assert is_held(lock)
        started = time.monotonic()
        with pytest.raises(SweepBusyError) as caught, held(lock):
            pass
        assert time.monotonic() - started < 1
        assert str(caught.value) == (
            f"{lock.parent}: process {process.pid} on {socket.gethostname()} is working on it; wait for it, or stop it"
        )
        assert isinstance(caught.value, SweepError)


def test_refused_process_does_not_take_the_lock_from_its_holder(tmp_path: Path) -> None:
    with holder(tmp_path / ".lock"):
        for _ in range(2):
            assert is_held(tmp_path / ".lock")
            with pytest.raises(SweepBusyError), held(tmp_path / ".lock"):
                pass


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_death_of_the_holder_frees_the_lock(tmp_path: Path, number: int) -> None:
    lock = tmp_path / ".lock"
    with holder(lock) as process:
        process.send_signal(number)
        process.wait(10)
        assert not is_held(lock)
        with held(lock):
            assert lock.read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_child_that_outlives_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    command = [sys.executable, "-c", FORKER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert is_held(lock)
        process.kill()
        process.wait(10)
        held_on = is_held(lock)
        os.kill(child, signal.SIGKILL)
        assert not held_on


def test_lock_is_free_after_the_block_however_it_ends(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with pytest.raises(ZeroDivisionError), held(lock):
        _ = 1 / 0
    with holder(lock):
        pass


def test_waiting_process_goes_on_when_the_holder_was_killed(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with holder(lock) as first:
        command = [sys.executable, "-c", HOLDER, str(lock), "wait"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as second:
            with pytest.raises(subprocess.TimeoutExpired):
                second.wait(0.5)
            first.kill()
            assert second.stdout is not None and second.stdout.readline() == "held\n"
            assert f"process {second.pid} " in lock.read_text()
            second.communicate("\n", timeout=10)
            assert second.returncode == 0


def test_only_one_process_at_a_time_is_inside(tmp_path: Path) -> None:
    total = tmp_path / "total"
    total.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / ".lock"), str(total)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    assert total.read_text() == "60"


def test_lock_that_nobody_made_is_not_held_and_not_made(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "none" / ".lock")
    assert not (tmp_path / "none").exists()
