"""A process that ends with its parent, shown with real processes and kill -9."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), flush=True)
sys.stdin.readline()
"""

CHILD = """
import os, signal, sys, time
from reprolens.parent import die_with_parent
signal.signal(signal.SIGTERM, lambda *_: None)
die_with_parent(os.getppid())
print("ready", flush=True)
time.sleep(60)
"""

UNBOUND = """
import time
print("ready", flush=True)
time.sleep(60)
"""

GENTLE = """
import os, signal, sys, time
from pathlib import Path
from reprolens.parent import die_with_parent
def save(number, frame):
    Path(sys.argv[1]).write_text("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
die_with_parent(os.getppid(), signal.SIGTERM)
print("ready", flush=True)
time.sleep(60)
"""

Family = tuple["subprocess.Popen[str]", psutil.Process]


@pytest.fixture
def family() -> Iterator[Callable[..., Family]]:
    """Return what starts a parent, and a child of it that runs a script: (script, *arguments) -> both."""
    made: list[Family] = []

    def start(script: str, *arguments: str) -> Family:
        command = [sys.executable, "-c", PARENT, script, *arguments]
        parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        pid, ready = parent.stdout.readline().split()
        assert ready == "ready"
        made.append((parent, psutil.Process(int(pid))))
        return made[-1]

    yield start
    for parent, child in made:
        parent.kill()
        parent.communicate()
        with suppress(psutil.NoSuchProcess):
            child.kill()


def is_gone(process: psutil.Process, seconds: float = 10) -> bool:
    """Return whether a process ends in time; one that only waits for its exit status to be read has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
                continue
        return True
    return False


def test_child_dies_when_its_parent_is_killed(family: Callable[..., Family]) -> None:
    parent, child = family(CHILD)
    parent.kill()
    assert is_gone(child)


def test_child_that_did_not_ask_for_it_lives_on(family: Callable[..., Family]) -> None:
    parent, child = family(UNBOUND)
    parent.kill()
    assert not is_gone(child, 0.5)


def test_child_lives_as_long_as_its_parent(family: Callable[..., Family]) -> None:
    _, child = family(CHILD)
    assert not is_gone(child, 0.5)


def test_child_can_have_a_signal_of_its_own_choice_and_save(family: Callable[..., Family], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    parent, child = family(GENTLE, str(mark))
    parent.kill()
    assert is_gone(child)
    assert mark.read_text() == "saved"


@pytest.mark.parametrize(("extra", "number"), [("", signal.SIGKILL), (", signal.SIGTERM", signal.SIGTERM)])
def test_process_whose_parent_was_gone_before_the_call_ends_in_it(extra: str, number: int) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    script = (
        f"import signal; from reprolens.parent import die_with_parent; die_with_parent({gone.pid}{extra}); print(1)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-number, "")


def test_process_whose_parent_is_there_goes_on() -> None:
    script = f"from reprolens.parent import die_with_parent; die_with_parent({os.getpid()}); print('on')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "on\n")
