"""Laws of sending runs that were written offline: all of them arrives, once, or it is said what did not."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprolens.__main__ import main
from reprolens.tracking.publish import publish
from reprolens.tracking.sync import Fate, Sent, send, unsent
from tracking.test_online import committed, pictures, rows, sent_rows


def sync(repository: Any) -> list[Sent]:
    return list(send(unsent(repository.root / "wandb"), 60))


def the_run(server: Any) -> Any:
    (run,) = server.runs.values()
    return run


def whole(repository: Any, server: Any) -> bool:
    """Return whether the server has the one run with each row and picture once, and its model."""
    run = the_run(server)
    (model,) = committed(server, "model")
    return (
        run.exit_code == 0
        and sent_rows(run) == rows(repository.root)
        and [set(picture["filenames"]) <= set(run.files) for picture in pictures(run)] == [True]
        and model.files["model.pt"] == (repository.root / "weights" / "model.pt").read_bytes()
        and run.summary["voc12/map50"] == 0.925
    )


def transaction_log(repository: Any) -> Path:
    (path,) = (repository.root / "wandb").glob("offline-run-*/run-*.wandb")
    return path


def test_a_run_is_sent_once(repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    (sent,) = sync(repository)
    assert sent.fate == Fate.sent and sent.url and whole(repository, server)
    assert sync(repository) == [] and whole(repository, server)
    assert {"latest", "best"} == {*committed(server, "model")[0].aliases}
    assert committed(server, "dataset")[0].used_by == [the_run(server).id]
    names = [path.name for path in transaction_log(repository).parent.iterdir()]
    assert not any("rest" in name for name in names)


def test_runs_that_wandb_itself_sent_are_passed_over(repository: Any, server: Any) -> None:
    folder = repository.root / publish(repository.root, repository.config)["folder"]
    subprocess.run([sys.executable, "-m", "wandb", "sync", str(folder)], check=True, capture_output=True)
    calls = len(server.calls)
    assert sync(repository) == [] and len(server.calls) == calls and whole(repository, server)


def test_a_forgotten_mark_doubles_nothing(repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    sync(repository)
    Path(f"{transaction_log(repository)}.synced").unlink()
    (again,) = sync(repository)
    assert again.fate == Fate.sent and whole(repository, server)


@pytest.mark.parametrize("there", [1, 3, 5])
def test_what_an_earlier_attempt_sent_is_gone_on_with(there: int, repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    sync(repository)
    run = the_run(server)
    for offset in [offset for offset in run.streams["wandb-history.jsonl"] if offset >= there]:
        del run.streams["wandb-history.jsonl"][offset]
    run.complete, run.exit_code = False, None
    Path(f"{transaction_log(repository)}.synced").unlink()
    (again,) = sync(repository)
    assert again.fate == Fate.sent and whole(repository, server)


def test_a_killed_sync_is_gone_on_with(repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    server.fail("upload", 500)  # the client tries again and again
    program = "import sys; from reprolens.__main__ import main; sys.exit(main(['sync']))"
    process = subprocess.Popen([sys.executable, "-c", program], cwd=repository.root, start_new_session=True)
    ends = time.monotonic() + 30
    while not server.runs and time.monotonic() < ends:
        time.sleep(0.1)
    time.sleep(0.5)
    os.killpg(process.pid, 9)
    process.wait()
    server.heal()
    (sent,) = sync(repository)
    assert sent.fate == Fate.sent and whole(repository, server)


def test_a_torn_record_is_cut_off_and_the_rest_is_sent(repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    path = transaction_log(repository)
    path.write_bytes(path.read_bytes()[:-20])
    os.utime(path, (0, 0))
    (sent,) = sync(repository)
    assert sent.reason.startswith("its writing was cut off; what there is was sent")
    run = the_run(server)
    assert sent_rows(run) == rows(repository.root) and len(committed(server, "model")) == 1
    assert path.with_name(f"{path.name}.torn").stat().st_size > 0


def test_a_run_whose_files_are_gone_is_not_sent_and_the_others_are(
    repository: Any, build: Callable[..., Any], tmp_path: Path, server: Any
) -> None:
    publish(repository.root, repository.config)
    shutil.rmtree(transaction_log(repository).parent / "artifacts")
    other = build(tmp_path / "other")
    folder = other.root / publish(other.root, other.tracking(group="other"))["folder"]
    shutil.move(folder, repository.root / "wandb" / folder.name)
    reasons = [sent.reason for sent in sync(repository)]
    assert sorted(" of its files are gone or changed, as /" in reason for reason in reasons) == [False, True]
    assert the_run(server).group == "other" and whole(other, server)  # though its folder was moved


def test_a_run_that_is_being_written_is_left_alone(repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    path = transaction_log(repository)
    path.write_bytes(path.read_bytes()[:-20])
    before = path.read_bytes()
    assert [(sent.fate, sent.reason) for sent in sync(repository)] == [(Fate.waits, "is being written")]
    os.utime(path, (0, 0))
    with path.open("rb"):
        assert [(sent.fate, sent.reason) for sent in sync(repository)] == [(Fate.waits, "is being written")]
    assert path.read_bytes() == before and not server.runs


def test_two_syncs_at_once_send_a_run_once(repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    command = [sys.executable, "-m", "reprolens", "sync"]
    processes = [subprocess.Popen(command, cwd=repository.root, stderr=subprocess.PIPE) for _ in range(2)]
    ends = [(process.communicate()[1], process.returncode) for process in processes]
    assert [status for _, status in ends] == [0, 0]
    assert whole(repository, server)


def test_what_is_no_run_is_said(repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    for name, data in {"empty": b"", "other": b"something else", "header": b":W&B\xe1\xbe\x00"}.items():
        folder = repository.root / "wandb" / f"offline-run-20200101_000000-{name}"
        folder.mkdir()
        path = folder / f"run-{name}.wandb"
        path.write_bytes(data)
        os.utime(path, (0, 0))
    results = sync(repository)
    assert [result.fate for result in results].count(Fate.sent) == 1 and whole(repository, server)
    assert all(
        "no transaction log" in result.reason or "no run" in result.reason for result in results if result.reason
    )


def test_the_command_says_what_it_did(
    repository: Any, server: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository.root)
    publish(repository.root, repository.config)
    server.stop()
    assert main(["sync"]) == 2
    assert capsys.readouterr().err.startswith("error: fcos_mobilenet_v2-digits-seed1: no W&B server answers at ")
    server.start()
    assert main(["sync"]) == 0
    assert capsys.readouterr().out.startswith("fcos_mobilenet_v2-digits-seed1: http")
    assert main(["sync"]) == 0
    assert capsys.readouterr().out == "all runs in wandb were sent\n"
    assert main(["sync", "nowhere"]) == 2
    assert capsys.readouterr().err == "error: nowhere: no such folder; runs lie in wandb/ of the repository\n"
