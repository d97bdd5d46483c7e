"""Laws of a training that is seen live: it is never held up, and its run has each row once, however it ended."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from reprolens.config import Config, load
from reprolens.errors import StoppedError, TrackingError, TrainingError
from reprolens.tracking import live as module
from reprolens.tracking.failure import record_failure
from reprolens.tracking.identity import identify
from reprolens.tracking.live import live
from reprolens.tracking.publish import publish
from reprolens.tracking.sync import Fate, send, unsent

FINGERPRINT = "f" * 16

PROGRAM = """
import signal, sys
from pathlib import Path
from reprolens.config import load
from reprolens.errors import StoppedError
from reprolens.tracking.live import live

signal.signal(signal.SIGINT, lambda number, frame: None)  # noted, as a training does
lines = Path("whole.csv").read_text().splitlines(keepends=True)
with live(Path(), load(Path("config.yaml")), sys.argv[1]) as epoch_over:
    print("entered", flush=True)
    for command in sys.stdin:
        if command.strip() == "stop":
            raise StoppedError("stopped by SIGINT")
        Path("reports/history.csv").write_text("".join(lines[: int(command) + 1]))
        epoch_over()
        print(command.strip(), flush=True)
"""
"""A training that is told on its input which epoch to end, or to stop."""


class Training:
    """A repository whose training runs epoch by epoch, as the test says."""

    def __init__(self, repository: Any, **tracking: Any) -> None:
        self.root: Path = repository.root
        self.config = self.configure(**{"mode": "online", **tracking})
        self.history = self.root / "reports" / "history.csv"
        self.whole = self.root / "whole.csv"
        self.history.rename(self.whole)

    def configure(self, **tracking: Any) -> Config:
        """Change the section `tracking` of config.yaml."""
        path = self.root / "config.yaml"
        composed = yaml.safe_load(path.read_text())
        composed["tracking"] |= tracking
        path.write_text(yaml.safe_dump(composed))
        return load(path)

    def write(self, epoch: int) -> None:
        """Let the history be that of so many epochs."""
        self.history.write_text("".join(self.whole.read_text().splitlines(keepends=True)[: epoch + 1]))

    def run(self, first: int, last: int, error: Exception | None = None) -> None:
        """Run epochs in this process, and end with an error if there is one."""
        with live(self.root, self.config, FINGERPRINT) as epoch_over:
            for epoch in range(first, last + 1):
                self.write(epoch)
                epoch_over()
            if error:
                raise error


class Program:
    """The training in a process of its own, with a process group of its own."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, FINGERPRINT],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._expect("entered")

    def epoch(self, number: int) -> None:
        """Let it end an epoch."""
        self._tell(str(number))
        self._expect(str(number))

    def beside(self, server: Any) -> list[psutil.Process]:
        """Return the processes that it started, once they have opened the run."""
        until(lambda: server.runs, 20)
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, command: str = "") -> tuple[int, str]:
        """Let it end, and return its status and what it said on its standard error."""
        if command:
            self._tell(command)
        errors = self.process.communicate(timeout=60)[1]
        return self.process.returncode, errors

    def _tell(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()

    def _expect(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == line


def until(holds: Callable[[], Any], seconds: float) -> None:
    """Wait until it holds; fail if that takes longer."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)


def the_run(server: Any) -> Any:
    (run,) = server.runs.values()
    return run


def rows(path: Path) -> list[dict[str, float]]:
    """Return the history as the training wrote it."""
    with path.open() as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def sent_rows(run: Any) -> list[dict[str, float]]:
    """Return the rows of the history that the server has, without the one of the pictures."""
    rows = (row for row in run.history if "epoch" in row)
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def was_told(server: Any, word: bytes) -> bool:
    return any(word in body for body in server.bodies)


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    before = set(psutil.Process().children(recursive=True))
    yield
    started = [process for process in psutil.Process().children(recursive=True) if process not in before]
    _, left = psutil.wait_procs(started, timeout=2)
    assert left == []


@pytest.mark.slow  # as often as wandb sends
def test_the_server_has_the_rows_while_the_training_runs(repository: Any, server: Any) -> None:
    training = Training(repository)
    with live(training.root, training.config, FINGERPRINT) as epoch_over:
        for epoch in (1, 2):
            training.write(epoch)
            epoch_over()
        until(lambda: server.runs and len(the_run(server).history) == 2, 30)
        assert the_run(server).state == "running"
        assert sent_rows(the_run(server)) == rows(training.history)


def test_publishing_completes_the_run_that_was_live(repository: Any, server: Any) -> None:
    training = Training(repository)
    with live(training.root, training.config, FINGERPRINT) as epoch_over:
        began = time.monotonic()
        for epoch in range(1, 6):
            training.write(epoch)
            for _ in range(20):  # more often than there is anything new
                epoch_over()
        assert time.monotonic() - began < 0.5
    run = the_run(server)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert sent_rows(run) == rows(training.whole)
    assert run.config["optimizer"]["lr"] == 0.002 and "dvc" not in run.config
    result = publish(training.root, training.config)
    assert list(server.runs) == [("tester", "reprolens", result["id"])]
    assert (run.state, run.exit_code) == ("finished", 0)
    assert sent_rows(run) == rows(training.whole)
    assert run.config.keys() == identify(training.root, training.config).config.keys() and "dvc" in run.config
    assert len(list((training.root / "wandb").glob("*run-*"))) == 1


def test_a_killed_training_leaves_a_closed_run_that_a_second_sitting_goes_on_with(repository: Any, server: Any) -> None:
    training = Training(repository)
    program = Program(training.root)
    program.epoch(1)
    program.epoch(2)
    beside = program.beside(server)
    program.process.kill()
    program.process.communicate()
    assert psutil.wait_procs(beside, timeout=30)[1] == []
    run = the_run(server)
    assert (run.state, run.exit_code, run.summary["error"]) == ("failed", 1, "the training was killed")
    assert sent_rows(run) == rows(training.history) and len(run.history) == 2
    training.run(4, 5)  # from its checkpoint on; the third row was written before the kill, but not told of
    assert sent_rows(run) == rows(training.whole)
    publish(training.root, training.config)
    assert the_run(server).exit_code == 0 and sent_rows(run) == rows(training.whole)
    assert "error" not in run.summary


def test_a_stopped_training_is_preempted_not_failed_by_an_error(repository: Any, server: Any) -> None:
    training = Training(repository)
    with pytest.raises(StoppedError):
        training.run(1, 2, StoppedError("stopped by SIGTERM at step 64"))
    run = the_run(server)
    assert was_told(server, b'"preempting":true') and run.complete and "error" not in run.summary
    assert sent_rows(run) == rows(training.history)


def test_a_failed_training_is_shown_with_its_error(repository: Any, server: Any) -> None:
    training = Training(repository, unreachable="fail")  # which a server that answers changes nothing by
    with pytest.raises(TrainingError):
        training.run(1, 2, TrainingError("the loss is not finite"))
    run = the_run(server)
    assert (run.state, run.exit_code) == ("failed", 1) and not was_told(server, b'"preempting":true')
    assert (run.summary["error"], run.summary["error/stage"]) == ("the loss is not finite", "train")
    assert sent_rows(run) == rows(training.history)


def test_a_failure_that_is_recorded_too_is_the_same_run_and_the_next_success_clears_it(
    repository: Any, server: Any
) -> None:
    training, error = Training(repository), TrainingError("the loss is not finite")
    with pytest.raises(TrainingError):
        training.run(1, 2, error)
    report = (training.root / "reports" / "train.json").rename(training.root / "train.json")
    record_failure(training.root, "train", error)
    run = the_run(server)
    assert (run.exit_code, run.summary["error"]) == (1, "the loss is not finite")
    assert sent_rows(run) == rows(training.history)
    assert {sent.fate for sent in send(unsent(training.root / "wandb"), 60)} <= {Fate.sent}
    assert the_run(server).exit_code == 1 and sent_rows(run) == rows(training.history)
    training.run(3, 5)
    report.rename(training.root / "reports" / "train.json")
    publish(training.root, training.config)
    assert the_run(server).exit_code == 0 and sent_rows(run) == rows(training.whole)
    assert "error" not in run.summary and len(list((training.root / "wandb").glob("*run-*"))) == 1


@pytest.mark.parametrize("lost", ["key", "server"])
def test_without_key_or_server_the_training_goes_on_with_one_line_and_is_written_afterwards(
    lost: str, repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    training = Training(repository)
    monkeypatch.delenv("WANDB_API_KEY") if lost == "key" else server.stop()
    began, said = time.monotonic(), ""
    with live(training.root, training.config, FINGERPRINT) as epoch_over:
        assert time.monotonic() - began < 1
        while not said and time.monotonic() - began < 20:
            said = capfd.readouterr().err
        began = time.monotonic()
        for epoch in range(1, 6):
            training.write(epoch)
            epoch_over()
        left = time.monotonic()
        assert left - began < 1
    assert time.monotonic() - left < 1
    (line,) = "".join([said, *capfd.readouterr()]).splitlines()
    assert line.startswith("tracking: no W&B ")
    assert line.endswith("; training goes on, the run is written afterwards")
    assert not (training.root / "wandb").exists()
    result = publish(training.root, training.config)
    assert result["mode"] == "offline" and (training.root / result["folder"]).is_dir()


@pytest.mark.parametrize("lost", ["key", "server"])
def test_where_that_is_an_error_it_comes_before_the_training_begins(
    lost: str, repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    training = Training(repository, unreachable="fail")
    monkeypatch.delenv("WANDB_API_KEY") if lost == "key" else server.stop()
    with pytest.raises(TrackingError, match=r"tracking\.mode: online, but no W&B ") as raised:
        training.run(1, 1)
    assert not training.history.exists() and "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_a_ctrl_c_does_not_reach_the_process_that_closes_the_run(repository: Any, server: Any) -> None:
    training = Training(repository)
    program = Program(training.root)
    program.epoch(1)
    beside = program.beside(server)
    os.killpg(program.process.pid, signal.SIGINT)
    for process in beside[:1]:
        process.send_signal(signal.SIGTERM)  # as a scheduler does to all of a job
    program.epoch(2)
    status, errors = program.end("stop")
    assert status == 1 and "StoppedError" in errors
    assert psutil.wait_procs(beside, timeout=5)[1] == []
    run = the_run(server)
    assert was_told(server, b'"preempting":true') and run.complete and "error" not in run.summary
    assert sent_rows(run) == rows(training.history)


@pytest.mark.slow  # as long as a training waits at its end
def test_a_server_that_dies_does_not_hold_the_training_up_and_gets_the_rest_later(
    repository: Any, server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    training = Training(repository, timeout=300)
    with live(training.root, training.config, FINGERPRINT) as epoch_over:
        training.write(1)
        epoch_over()
        until(lambda: server.runs, 20)
        server.stop()
        began = time.monotonic()
        for epoch in range(2, 6):
            training.write(epoch)
            epoch_over()
        left = time.monotonic()
        assert left - began < 1
    assert time.monotonic() - left < module.GRACE - 5
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("tracking: the rest of the run is sent by the track stage (")
    server.start()
    assert publish(training.root, training.config)["mode"] == "online"
    assert the_run(server).exit_code == 0 and sent_rows(the_run(server)) == rows(training.whole)


@pytest.mark.slow  # as long as one waits for an answer
def test_a_server_that_never_answers_does_not_hold_the_training_up(
    repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    training = Training(repository)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with live(training.root, training.config, FINGERPRINT) as epoch_over:
            epoch_over()
            assert time.monotonic() - began < 1
        assert time.monotonic() - began < 20
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("tracking: W&B did not open the run (")


def test_rows_that_the_server_did_not_take_are_sent_by_the_track_stage(repository: Any, server: Any) -> None:
    training = Training(repository)
    server.fail("file_stream", 404)
    training.run(1, 5)
    assert the_run(server).history == []
    server.heal()
    assert publish(training.root, training.config)["mode"] == "online"
    assert the_run(server).exit_code == 0 and sent_rows(the_run(server)) == rows(training.whole)


def test_a_process_that_does_not_end_is_not_waited_for(
    repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "GRACE", 1.0)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a killed process leaves its temporary files
    training = Training(repository, timeout=300)
    with live(training.root, training.config, FINGERPRINT) as epoch_over:
        training.write(1)
        epoch_over()
        until(lambda: server.runs, 20)
        server.stop()
        left = time.monotonic()
    assert time.monotonic() - left < 3


def test_a_training_outlives_the_process_beside_it(
    repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    training = Training(repository)
    program = Program(training.root)
    program.epoch(1)
    beside = program.beside(server)
    beside[0].kill()
    assert psutil.wait_procs(beside[1:], timeout=10)[1] == []  # wandb's own, which ends with it
    for epoch in range(2, 6):
        program.epoch(epoch)
    assert program.end() == (0, "")
    publish(training.root, training.config)
    assert the_run(server).exit_code == 0 and sent_rows(the_run(server)) == rows(training.whole)


def test_offline_and_disabled_start_no_process_and_disabled_writes_nothing(repository: Any) -> None:
    training = Training(repository)
    for mode in ("disabled", "offline"):
        training.config = training.configure(mode=mode)
        before, children = set(training.root.rglob("*")), psutil.Process().children()
        with live(training.root, training.config, FINGERPRINT) as epoch_over:
            epoch_over()
            assert psutil.Process().children() == children
        noted = {path.name for path in set(training.root.rglob("*")) - before}
        assert noted == (set() if mode == "disabled" else {".dvc", "tmp", "wandb-run.json"})
