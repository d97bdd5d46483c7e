"""Laws of a run on the server: it has everything once, whatever happened on the way. What is asked is the server."""

import csv
import dataclasses
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from reprolens.errors import TrackingError
from reprolens.tracking.failure import note_training, publish_failure
from reprolens.tracking.publish import publish
from reprolens.tracking.sync import Fate, Sent, send, unsent


def served(server: Any, result: dict[str, str]) -> Any:
    return server.runs["tester", result["project"], result["id"]]


def sync(folder: Path, timeout: float) -> list[Sent]:
    return list(send(unsent(folder), timeout))


def rows(root: Path) -> list[dict[str, float]]:
    """Return the history as the training wrote it."""
    with (root / "reports" / "history.csv").open() as file:
        return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]


def sent_rows(run: Any) -> list[dict[str, float]]:
    """Return the rows of the history that the server has, without the one of the pictures."""
    own = ({name: value for name, value in row.items() if not name.startswith("_")} for row in run.history)
    return [row for row in own if "epoch" in row]


def pictures(run: Any) -> list[Any]:
    return [row["samples/boxes"] for row in run.history if "samples/boxes" in row]


def committed(server: Any, kind: str) -> list[Any]:
    return [artifact for artifact in server.artifacts if artifact.type == kind and artifact.state == "COMMITTED"]


def test_the_server_has_all_of_a_run(repository: Any, server: Any) -> None:
    result = publish(repository.root, repository.tracking(mode="online", group="sweep", tags=["a"], notes="why"))
    run = served(server, result)
    assert result["mode"] == "online" and result["url"]
    assert (run.exit_code, run.display_name, run.group) == (0, "fcos_mobilenet_v2-digits-seed1", "sweep")
    assert (run.job_type, run.tags, run.notes) == ("trial", ["a"], "why")
    assert run.config["optimizer"]["lr"] == 0.002 and run.config["seed"] == 1
    assert run.config["dvc"]["data"] == "a" * 32 + ".dir" and set(run.config["dvc"]["stages"]) == {"all"}
    assert {"python", "platform", "libraries"} <= run.config["environment"].keys()
    assert sent_rows(run) == rows(repository.root)
    evaluation = json.loads((repository.root / "reports" / "evaluation.json").read_text())
    assert {name: run.summary[name] for name in evaluation if evaluation[name] is not None} == {
        name: value for name, value in evaluation.items() if value is not None
    }
    assert unsent(repository.root / "wandb") == []


def test_pictures_and_artifacts_arrive_byte_by_byte(repository: Any, server: Any) -> None:
    run = served(server, publish(repository.root, repository.tracking(mode="online")))
    (boxes,) = pictures(run)
    names = boxes["filenames"]
    originals = [(repository.root / "reports" / "samples" / f"{number}.jpg").read_bytes() for number in range(3)]
    assert [run.files[name] for name in names] == originals
    (model,) = committed(server, "model")
    assert model.files["model.pt"] == (repository.root / "weights" / "model.pt").read_bytes()
    (exported,) = committed(server, "export")
    folder = repository.root / "export"
    assert exported.files == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (evaluation,) = committed(server, "evaluation")
    assert set(evaluation.files) == {"predictions.json", "ground_truth.json", "evaluation.json"}
    assert {*exported.aliases} == {"latest", "passed", "best"} and {*model.aliases} == {"latest", "best"}


def test_the_lineage_leads_from_the_data_set_to_the_model_and_its_evaluation(repository: Any, server: Any) -> None:
    result = publish(repository.root, repository.tracking(mode="online"))
    (data,) = committed(server, "dataset")
    assert data.used_by == [result["id"]] and data.metadata["dvc_md5"] == "a" * 32 + ".dir"
    assert {kind: committed(server, kind)[0].made_by for kind in ("model", "export", "evaluation")} == dict.fromkeys(
        ("model", "export", "evaluation"), result["id"]
    )


def test_publishing_again_sends_nothing_twice(repository: Any, server: Any) -> None:
    config = repository.tracking(mode="online")
    first = publish(repository.root, config)
    before, artifacts = len(served(server, first).history), len(server.artifacts)
    assert publish(repository.root, config) == first
    assert len(served(server, first).history) == before and len(server.artifacts) == artifacts
    assert len(list((repository.root / "wandb").glob("*run-*"))) == 1


def test_new_pictures_of_the_same_training_are_sent_and_its_history_is_not(repository: Any, server: Any) -> None:
    config = repository.tracking(mode="online")
    result = publish(repository.root, config)
    samples = repository.root / "reports" / "samples"
    samples.joinpath("0.jpg").write_bytes(samples.joinpath("1.jpg").read_bytes())
    publish(repository.root, config)
    assert sent_rows(served(server, result)) == rows(repository.root)
    assert len(pictures(served(server, result))) == 2


def test_best_goes_to_the_better_model_and_stays_there(repository: Any, server: Any) -> None:
    config = repository.tracking(mode="online")
    path = repository.root / "reports" / "train.json"
    for seed, value in ((1, 0.5), (2, 0.8), (3, 0.7)):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"val/map": value}))
        (repository.root / "weights" / "model.pt").write_bytes(bytes([seed]) * 100)
        publish(repository.root, dataclasses.replace(config, seed=seed))
    aliases = [("best" in model.aliases, model.metadata["objective"]["value"]) for model in committed(server, "model")]
    assert aliases == [(False, 0.5), (True, 0.8), (False, 0.7)]


def test_where_the_gate_let_no_file_pass_there_is_no_artifact_of_the_export(repository: Any, server: Any) -> None:
    path = repository.root / "reports" / "export.json"
    rejected = {"published": [], "rejected": {"onnx": "why", "onnx_int8": "why"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | rejected))
    publish(repository.root, repository.tracking(mode="online"))
    assert committed(server, "export") == [] and len(committed(server, "model")) == 1


@pytest.mark.parametrize("lost", ["key", "server"])
def test_without_key_or_server_the_run_is_written_offline_and_sent_later(
    lost: str, repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        if lost == "key":
            broken.delenv("WANDB_API_KEY")
        else:
            server.stop()
        began = time.monotonic()
        result = publish(repository.root, repository.tracking(mode="online"))
        assert time.monotonic() - began < 20
        (line,) = capsys.readouterr().err.splitlines()
        assert result["mode"] == "offline" and line.endswith("the run is in wandb/, reprolens sync sends it")
        with pytest.raises(TrackingError, match="online, but "):
            publish(repository.root, repository.tracking(mode="online", unreachable="fail"))
        if lost == "server":
            server.start()
    (sent,) = sync(repository.root / "wandb", 60)
    assert sent.fate == Fate.sent and sent_rows(served(server, result)) == rows(repository.root)


def test_a_key_that_the_server_refuses_is_said_at_once(repository: Any, server: Any) -> None:
    server.refuse_key = True
    with pytest.raises(TrackingError, match="online, but W&B does not let us in"):
        publish(repository.root, repository.tracking(mode="online", unreachable="fail"))


@pytest.mark.parametrize(
    ("where", "status", "lacks"),
    [("file_stream", 404, "rows of the history"), ("PUT", 403, "files"), ("CommitArtifact", 400, "artifacts")],
)
def test_what_the_server_did_not_take_is_said_and_sent_later(
    where: str, status: int, lacks: str, repository: Any, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server.fail(where, status)
    result = publish(repository.root, repository.tracking(mode="online"))
    (line,) = capsys.readouterr().err.splitlines()
    assert result["mode"] == "offline" and lacks in line
    server.heal()
    (sent,) = sync(repository.root / "wandb", 60)
    run = served(server, result)
    assert sent.fate == Fate.sent and sent_rows(run) == rows(repository.root) and len(pictures(run)) == 1
    assert len(committed(server, "model")) == 1 and set(pictures(run)[0]["filenames"]) <= set(run.files)


def test_what_the_server_did_not_take_is_an_error_where_that_is_configured(repository: Any, server: Any) -> None:
    server.fail("file_stream", 404)
    with pytest.raises(TrackingError, match="the server lacks 5 of 5 rows of the history"):
        publish(repository.root, repository.tracking(mode="online", unreachable="fail"))


def test_a_server_that_stumbles_loses_nothing(repository: Any, server: Any) -> None:
    server.fail("file_stream", 500, times=1)
    server.fail("PUT", 500, times=2)
    result = publish(repository.root, repository.tracking(mode="online"))
    assert result["mode"] == "online" and sent_rows(served(server, result)) == rows(repository.root)


def test_a_server_that_dies_in_the_middle_holds_nobody_up(repository: Any, server: Any) -> None:
    def die(call: Any) -> bool:
        if call.operation == "CreateArtifact":
            threading.Thread(target=server.stop).start()
        return False

    server.fail(die, 500)
    began = time.monotonic()
    result = publish(repository.root, repository.tracking(mode="online", timeout=5))
    assert time.monotonic() - began < 60 and result["mode"] == "offline"
    server.heal()
    server.start()
    (sent,) = sync(repository.root / "wandb", 60)
    run = served(server, result)
    assert sent.fate == Fate.sent and sent_rows(run) == rows(repository.root) and len(pictures(run)) == 1


def test_two_trials_at_once_have_a_run_each(repository: Any, server: Any, tmp_path: Path) -> None:
    import subprocess
    import sys

    program = (
        "import sys, dataclasses\nfrom pathlib import Path\nfrom reprolens.config import load\n"
        "from reprolens.tracking.publish import publish\nconfig = load(Path('config.yaml'))\n"
        "tracking = dataclasses.replace(config.tracking, mode='online')\n"
        "publish(Path(), dataclasses.replace(config, seed=int(sys.argv[1]), tracking=tracking))\n"
    )
    trials = [
        subprocess.Popen([sys.executable, "-c", program, str(seed)], cwd=repository.root, stderr=subprocess.PIPE)
        for seed in (1, 2)
    ]
    assert [(trial.communicate()[1], trial.returncode) for trial in trials] == [(b"", 0), (b"", 0)]
    runs = list(server.runs.values())
    assert sorted(run.config["seed"] for run in runs) == [1, 2]
    assert all(sent_rows(run) == rows(repository.root) and run.exit_code == 0 for run in runs)


def test_a_failure_is_shown_and_its_run_is_completed_by_the_next_attempt(repository: Any, server: Any) -> None:
    config = repository.tracking(mode="online")
    history = repository.root / "reports" / "history.csv"
    whole = history.read_text()
    history.write_text("".join(whole.splitlines(keepends=True)[:3]) + "3,96")  # killed while it was written
    note_training(repository.root, "f" * 16)
    publish_failure(repository.root, config, "train", "the loss is not finite")
    (failed,) = server.runs.values()
    assert (failed.exit_code, failed.summary["error"]) == (1, "the loss is not finite")
    assert failed.config["optimizer"]["lr"] == 0.002
    history.write_text(whole)
    assert sent_rows(failed) == rows(repository.root)[:2]
    result = publish(repository.root, config)
    assert list(server.runs) == [("tester", "reprolens", result["id"])]
    run = served(server, result)
    assert run.exit_code == 0 and sent_rows(run) == rows(repository.root)


def test_no_secret_reaches_the_server_or_the_folder(
    repository: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"WANDB_API_KEY": "k" * 20 + "planted" + "k" * 13, "AWS_SECRET_ACCESS_KEY": "planted-too"}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    run = served(server, publish(repository.root, repository.tracking(mode="online")))
    texts = [json.dumps([run.raw_config, run.streams]).encode(), *run.files.values()]
    texts += [data for artifact in server.artifacts for data in artifact.files.values()]
    texts += [path.read_bytes() for path in (repository.root / "wandb").rglob("*") if path.is_file()]
    assert len(texts) > 20 and not any(b"planted" in text for text in texts)
