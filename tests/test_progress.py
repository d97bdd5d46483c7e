"""Progress is a bar on a terminal, a line now and then elsewhere, and needs nothing but Python to be the latter."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from reprolens import progress

SOURCE = Path(__file__).parents[1] / "src"
PROGRAM = """
import sys
if "--without-rich" in sys.argv:
    sys.modules["rich"] = None
from reprolens import progress
progress.PLAIN_INTERVAL = 0.0
for number in progress.track(range(3), "pictures"):
    print(number)
print("rich.console" in sys.modules)
"""


def on_terminal(*arguments: str) -> tuple[str, str]:
    """Run the program with a terminal as its standard error; return what it printed there and on standard output."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=theirs, env=environment, text=True
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # Linux's way to say that the other end is closed
        pass
    os.close(ours)
    assert done.returncode == 0
    return said.decode(), done.stdout


def test_terminal_gets_a_bar_and_a_pipe_what_is_printed() -> None:
    said, printed = on_terminal()
    assert "\x1b[" in said
    assert "3/3" in said
    assert printed == "0\n1\n2\nTrue\n"


def test_without_rich_a_terminal_gets_lines() -> None:
    said, printed = on_terminal("--without-rich")
    assert said.splitlines() == ["pictures 1/3", "pictures 2/3", "pictures 3/3"]
    assert printed == "0\n1\n2\nFalse\n"


def test_off_a_terminal_rich_is_not_even_imported() -> None:
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, env=environment, text=True)
    assert done.stdout == "0\n1\n2\nFalse\n"
    assert done.stderr.splitlines() == ["pictures 1/3", "pictures 2/3", "pictures 3/3"]


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(range(1000), "pictures")) == list(range(1000))
    assert capsys.readouterr().err == ""


def test_what_has_no_length_is_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    with progress.bar("pictures") as line:
        line.advance()
        line.note("loss 0.5")
        line.advance(4)
    assert capsys.readouterr().err == "pictures 1\npictures 5 loss 0.5\n"
