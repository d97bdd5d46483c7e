"""Laws of runs that are sent more than once: attempts, results that changed, servers that lag, and what was damaged.

Whatever the order, the server has each row once, the best model bears the alias, and what is not whole is not marked.
"""

import csv
import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprolens.config.schema import Mode
from reprolens.tracking.failure import LONGEST, note_training, publish_failure
from reprolens.tracking.identity import identify_unfinished
from reprolens.tracking.publish import publish
from reprolens.tracking.run import as_rows, define_metrics, log_history, open_run
from reprolens.tracking.session import session, stage_artifacts_in
from reprolens.tracking.sync import Fate, Sent, send, unsent
from reprolens.tracking.transaction_log import find_log, is_synced
from tracking.test_online import committed, pictures, rows, sent_rows

FINGERPRINT = "f" * 16


def sync(repository: Any, timeout: float = 60) -> list[Sent]:
    return list(send(unsent(repository.root / "wandb"), timeout))


def the_run(server: Any) -> Any:
    (run,) = server.runs.values()
    return run


def log_of(repository: Any, result: dict[str, str]) -> Path:
    return find_log(repository.root / result["folder"])


def forget(repository: Any) -> None:
    """Take the marks of what was sent away."""
    for mark in (repository.root / "wandb").glob("*run-*/*.synced"):
        mark.unlink()


def rewrite(repository: Any, epochs: int, loss: float, last: str = "") -> None:
    """Let the training have ended with so many epochs, and losses that start at `loss`; `last` is the last one's."""
    with (repository.root / "reports" / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("epoch", "global_step", "lr", "train/loss", "val/map50"))
        for epoch in range(1, epochs + 1):
            value = last if last and epoch == epochs else loss / epoch
            writer.writerow([epoch, epoch * 32, 0.001, value, 0.5 if epoch % 2 == 0 else ""])


def evaluate(repository: Any, model: bytes, value: float) -> None:
    """Let the reports be those of other weights."""
    path = repository.root / "reports" / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"voc12/map50": value}))
    (repository.root / "weights" / "model.pt").write_bytes(model * 100)


def write_sitting(repository: Any, epochs: int, exit_code: int, day: int) -> Path:
    """Write what the sitting of a live training leaves of which nothing was sent, and return its log."""
    history = as_rows(rows(repository.root))[:epochs]
    identity = identify_unfinished(repository.root, repository.config, FINGERPRINT)
    with session():
        run = open_run(repository.root, repository.config, identity, Mode.offline)
        folder = stage_artifacts_in(run)
        define_metrics(run, history[0])
        log_history(run, history)
        run.finish(exit_code=exit_code)
    return find_log(folder.rename(folder.with_name(f"run-2026010{day}_000000-{identity.id}")))


def write_four(repository: Any) -> None:
    """Write the runs of four trials offline."""
    for seed in range(1, 5):
        publish(repository.root, dataclasses.replace(repository.tracking(artifacts=False), seed=seed))


def test_a_failure_after_the_results_does_not_take_their_place(repository: Any, server: Any) -> None:
    published = publish(repository.root, repository.config)
    publish_failure(repository.root, repository.config, "evaluate", "out of memory")
    logs = unsent(repository.root / "wandb")
    assert [log.name for log in logs] == [f"run-{published['id']}.wandb"] * 2
    (sent,) = sync(repository)
    run = the_run(server)
    assert sent.fate == Fate.sent and sent_rows(run) == rows(repository.root) and len(pictures(run)) == 1
    assert (run.state, run.summary["voc12/map50"], "error" in run.summary) == ("finished", 0.925, False)
    assert all(is_synced(log) for log in logs)
    calls = len(server.calls)
    assert sync(repository) == [] and len(server.calls) == calls


def test_of_two_sittings_that_were_not_sent_the_later_one_counts(repository: Any, server: Any) -> None:
    older, newer = write_sitting(repository, 3, 1, day=1), write_sitting(repository, 5, 0, day=2)
    (sent,) = sync(repository)
    run = the_run(server)
    assert sent.fate == Fate.sent and sent.folder == newer.parent and is_synced(older)
    assert (run.state, sent_rows(run)) == ("finished", rows(repository.root))
    older.with_name(f"{older.name}.synced").unlink()
    assert sync(repository) == [] and is_synced(older)
    assert (run.state, sent_rows(run)) == ("finished", rows(repository.root))


@pytest.mark.parametrize("opened", ["older", "newer"])
def test_no_attempt_at_a_run_is_sent_while_one_is_written(opened: str, repository: Any, server: Any) -> None:
    logs = {"older": write_sitting(repository, 3, 1, day=1), "newer": write_sitting(repository, 5, 0, day=2)}
    with logs[opened].open("rb"):
        assert {sent.fate for sent in sync(repository)} == {Fate.waits}
    assert not server.runs and not any(map(is_synced, logs.values()))


def test_a_log_that_is_damaged_in_the_middle_is_refused_and_left_as_it_is(
    build: Callable[..., Any], tmp_path: Path, server: Any
) -> None:
    repository = build(tmp_path, epochs=100)
    path = log_of(repository, publish(repository.root, repository.config))
    data = bytearray(path.read_bytes())
    assert len(data) > 100_000
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, (0, 0))  # nothing writes it any more
    (sent,) = sync(repository)
    assert sent.fate == Fate.failed and " is damaged at byte " in sent.reason
    assert sent.reason.endswith("; dvc repro -f track writes it again")
    assert path.read_bytes() == data and not is_synced(path) and not server.runs


@pytest.mark.parametrize("there", [3, 6])  # of the six rows, the last of which is that of the pictures
def test_rows_that_the_server_shows_late_are_not_sent_twice(there: int, repository: Any, server: Any) -> None:
    publish(repository.root, repository.config)
    sync(repository)
    stream = the_run(server).streams["wandb-history.jsonl"]
    for offset in range(there, 6):
        del stream[offset]
    forget(repository)
    server.lag(rows=1, seconds=0.8)
    (sent,) = sync(repository)
    run = the_run(server)
    assert sent.fate == Fate.sent and sent_rows(run) == rows(repository.root) and len(pictures(run)) == 1


def test_another_result_of_the_same_training_has_a_run_of_its_own(repository: Any, server: Any) -> None:
    config = repository.tracking(mode="online", artifacts=False)
    held: list[list[dict[str, float]]] = []
    for epochs, loss in ((5, 1.0), (7, 2.0), (3, 1.0)):
        rewrite(repository, epochs, loss)
        held.append(rows(repository.root))
        first, again = publish(repository.root, config), publish(repository.root, config)
        assert first == again and first["mode"] == "online"
        given = first["id"]
        assert [run.id for run in server.runs.values()] == [given, f"{given}-2", f"{given}-3"][: len(held)]
        assert first["url"].endswith([*server.runs.values()][-1].id)
        assert [sent_rows(run) for run in server.runs.values()] == held
    assert [len(pictures(run)) for run in server.runs.values()] == [1, 1, 1]


def test_a_training_that_went_on_keeps_its_run(repository: Any, server: Any) -> None:
    config = repository.tracking(mode="online", artifacts=False)
    for epochs in (5, 7):
        rewrite(repository, epochs, 1.0)
        publish(repository.root, config)
    assert sent_rows(the_run(server)) == rows(repository.root) and len(rows(repository.root)) == 7
    assert the_run(server).summary["epoch"] == 7


def test_a_run_that_was_deleted_on_the_server_has_a_second_one(repository: Any, server: Any) -> None:
    import wandb

    config = repository.tracking(mode="online")
    first = publish(repository.root, config)
    wandb.Api().run(f"tester/reprolens/{first['id']}").delete()
    assert not server.runs
    assert publish(repository.root, config)["mode"] == "online"
    run = the_run(server)
    assert run.id == f"{first['id']}-2" and run.exit_code == 0
    assert sent_rows(run) == rows(repository.root) and len(pictures(run)) == 1


def test_a_model_that_is_evaluated_anew_and_worse_loses_best_even_if_the_server_stumbles(
    repository: Any, server: Any
) -> None:
    config = repository.tracking(mode="online")
    config = dataclasses.replace(
        config,
        evaluate=dataclasses.replace(config.evaluate, split="val"),
        sweep=dataclasses.replace(config.sweep, metric=["voc12/map50"]),
    )

    def bests() -> list[bool]:
        return ["best" in model.aliases for model in committed(server, "model")]

    for seed, value in ((1, 0.8), (2, 0.7)):
        evaluate(repository, bytes([seed]), value)
        publish(repository.root, dataclasses.replace(config, seed=seed))
    assert bests() == [True, False]
    evaluate(repository, b"\1", 0.5)
    server.fail("UpdateArtifact", 400)
    assert publish(repository.root, config)["mode"] == "offline"
    assert len(unsent(repository.root / "wandb")) == 1 and bests() == [True, False]
    server.heal()
    (sent,) = sync(repository)
    assert sent.fate == Fate.sent and bests() == [False, True]
    assert unsent(repository.root / "wandb") == []


def test_a_staged_file_that_was_overwritten_is_not_sent(repository: Any, server: Any) -> None:
    path = log_of(repository, publish(repository.root, repository.config))
    model = (repository.root / "weights" / "model.pt").read_bytes()
    (staged,) = [path for path in path.parent.rglob("staging/*") if path.read_bytes() == model]
    staged.chmod(0o600)
    staged.write_bytes(model[::-1])
    (sent,) = sync(repository)
    assert (sent.fate, not server.runs, is_synced(path)) == (Fate.failed, True, False)
    assert sent.reason == f"1 of its files are gone or changed, as {staged}; dvc repro -f track writes it again"


def test_of_runs_whose_uploads_are_refused_each_is_named_in_bounded_time(
    repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reprolens.tracking.sync.SETTLED", 0.1)
    write_four(repository)
    server.fail("PUT", 403)
    began = time.monotonic()
    results = sync(repository, timeout=10)
    assert time.monotonic() - began < 4 * 12
    assert sorted(sent.name[-5:] for sent in results) == ["seed1", "seed2", "seed3", "seed4"]
    assert all(sent.fate == Fate.failed and " files (" in sent.reason for sent in results)
    assert len(unsent(repository.root / "wandb")) == 4


def test_a_server_that_is_gone_is_asked_once_for_all_runs(repository: Any, server: Any) -> None:
    write_four(repository)
    server.stop()
    began = time.monotonic()
    results = sync(repository)
    assert time.monotonic() - began < 5
    (reason,) = {sent.reason for sent in results}
    assert len(results) == 4 and {sent.fate for sent in results} == {Fate.failed}
    assert reason.startswith("no W&B server answers at http://127.0.0.1:")


def test_a_loss_that_is_no_number_is_confirmed(repository: Any, server: Any) -> None:
    rewrite(repository, 5, 1.0, last="nan")
    assert publish(repository.root, repository.tracking(mode="online", artifacts=False))["mode"] == "online"
    run = the_run(server)
    assert [str(row["train/loss"]).lower() for row in sent_rows(run)][-2:] == ["0.25", "nan"]
    for name in ("wandb-history.jsonl", "wandb-summary.json"):  # as a server says it that keeps to JSON
        run.streams[name] = {number: line.replace("NaN", '"NaN"') for number, line in run.streams[name].items()}
    forget(repository)
    streams = json.dumps(run.streams)
    (sent,) = sync(repository)
    assert sent.fate == Fate.sent and json.dumps(the_run(server).streams) == streams


@pytest.mark.parametrize("filling", ["x", "https://host/path "])
def test_what_an_error_says_is_shown_without_keys_and_not_at_length(filling: str, repository: Any, server: Any) -> None:
    secrets = ("hunter2", "abc123")
    error = f"cannot read https://me:{secrets[0]}@host/data?token={secrets[1]} {filling * (1_000_000 // len(filling))}"
    note_training(repository.root, FINGERPRINT)
    began = time.monotonic()
    publish_failure(repository.root, repository.tracking(mode="online"), "train", error)
    assert time.monotonic() - began < 20
    said = the_run(server).summary["error"]
    assert said.startswith("cannot read https://host/data ") and len(said) <= LONGEST
    texts = [path.read_bytes() for path in (repository.root / "wandb").rglob("*") if path.is_file()]
    assert texts and not any(secret.encode() in text for secret in secrets for text in [*texts, *server.bodies])
