"""The W&B server of the tests, driven by the real client: it holds what was sent, and it fails as it is told to."""

import io
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import wandb
from PIL import Image
from wandb.errors import CommError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from tracking.server import ServedRun, Server

START: dict[str, Any] = {"project": "p", "entity": "tester"}


def settings(**changes: Any) -> wandb.Settings:
    """Return settings with which the client says little, tries again soon and gives up after seconds."""
    return wandb.Settings(
        console="off",
        disable_git=True,
        finish_timeout=15,
        finish_timeout_raises=True,
        silent=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_file_stream_retry_wait_max_seconds=1,  # whole seconds: a part of one would mean the default
        x_file_stream_retry_wait_min_seconds=1,
        x_file_stream_transmit_interval=1,
        x_file_transfer_retry_wait_max_seconds=1,
        x_file_transfer_retry_wait_min_seconds=1,
        x_graphql_retry_wait_max_seconds=1,
        x_graphql_retry_wait_min_seconds=1,
        x_save_requirements=False,
        **changes,
    )


def log(name: str, losses: list[float], **options: Any) -> None:
    """Log one row a loss to a run of that id."""
    with wandb.init(**START, id=name, settings=settings(), **options) as run:
        for loss in losses:
            run.log({"loss": loss})


def log_model(name: str, data: bytes, path: Path, **options: Any) -> None:
    """Log a model of these bytes from a run of that id."""
    path.write_bytes(data)
    with wandb.init(**START, id=name, settings=settings()) as run:
        artifact = wandb.Artifact("model", "model", metadata={"size": len(data)})
        artifact.add_file(str(path))
        run.log_artifact(artifact, **options).wait(timeout=15)


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until it holds, for seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask(server: Server, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the answer to a GraphQL request."""
    with urlopen(f"{server.url}/graphql", json.dumps({"query": query, "variables": variables}).encode()) as answer:
        return json.load(answer)


def losses(run: ServedRun) -> list[float]:
    return [row["loss"] for row in run.history]


def test_a_run_is_held_as_it_was_logged(server: Server) -> None:
    with wandb.init(
        **START,
        id="a",
        name="readable",
        group="sweep",
        job_type="trial",
        tags=["x"],
        notes="why",
        config={"optimizer": {"lr": 0.5}},
        settings=settings(),
    ) as run:
        for step in range(3):
            run.log({"loss": 1 / (step + 1), "epoch": step})
        run.summary["map"] = 0.75
    held = server.runs["tester", "p", "a"]
    assert losses(held) == [1, 1 / 2, 1 / 3] and [row["_step"] for row in held.history] == [0, 1, 2]
    assert held.summary["map"] == 0.75 and held.summary["epoch"] == 2
    assert held.config == {"optimizer": {"lr": 0.5}}
    assert (held.display_name, held.group, held.job_type, held.tags, held.notes) == (
        "readable",
        "sweep",
        "trial",
        ["x"],
        "why",
    )
    assert held.complete and held.exit_code == 0


def test_a_run_that_raises_has_failed(server: Server) -> None:
    with pytest.raises(ZeroDivisionError), wandb.init(**START, id="a", settings=settings()):
        _ = 1 / 0
    held = server.runs["tester", "p", "a"]
    assert (held.complete, held.exit_code, held.state) == (True, 1, "failed")


def test_pictures_arrive_byte_for_byte(server: Server) -> None:
    picture = Image.linear_gradient("L")
    with wandb.init(**START, id="a", settings=settings()) as run:
        run.log({"samples/a b": wandb.Image(picture, file_type="png")})
    held = server.runs["tester", "p", "a"]
    sent = held.files[held.history[0]["samples/a b"]["path"]]
    assert Image.open(io.BytesIO(sent)).tobytes() == picture.tobytes()


def test_a_resumed_run_goes_on_behind_its_history(server: Server) -> None:
    log("a", [3, 2], config={"lr": 1, "seed": 7})
    log("a", [1], config={"lr": 2}, resume="allow")
    held = server.runs["tester", "p", "a"]
    assert losses(held) == [3, 2, 1] and sorted(held.streams["wandb-history.jsonl"]) == [0, 1, 2]
    assert held.config == {"lr": 2, "seed": 7}
    assert len(server.runs) == 1


def test_a_run_opened_again_without_resuming_is_appended_to(server: Server) -> None:
    """The client puts its lines behind those that the server says it has; the steps begin anew."""
    log("a", [3, 2])
    log("a", [3, 2])
    held = server.runs["tester", "p", "a"]
    assert losses(held) == [3, 2, 3, 2] and [row["_step"] for row in held.history] == [0, 1, 0, 1]


def test_a_line_sent_twice_is_there_once(server: Server) -> None:
    log("a", [3, 2])
    again = {
        "files": {"wandb-history.jsonl": {"offset": 1, "content": ['{"_step":1,"loss":9}', '{"_step":2,"loss":8}']}}
    }
    for _ in range(2):
        with urlopen(f"{server.url}/files/tester/p/a/file_stream", json.dumps(again).encode()) as answer:
            assert answer.status == 200
    assert losses(server.runs["tester", "p", "a"]) == [3, 9, 8]


def test_a_deleted_run_is_gone_and_its_id_refused(server: Server) -> None:
    log("a", [1])
    wandb.Api().run("tester/p/a").delete()
    assert not server.runs
    with pytest.raises(CommError, match="previously created and deleted"):
        log("a", [1])
    assert not server.runs


def test_two_runs_at_once_stay_apart(server: Server) -> None:
    with (
        wandb.init(**START, id="a", reinit="create_new", settings=settings()) as first,
        wandb.init(**START, id="b", reinit="create_new", settings=settings()) as second,
    ):
        for step in range(20):
            first.log({"loss": step})
            second.log({"loss": -step})
    assert losses(server.runs["tester", "p", "a"]) == list(range(20))
    assert losses(server.runs["tester", "p", "b"]) == [-step for step in range(20)]


def test_artifacts_are_committed_with_their_bytes(server: Server, tmp_path: Path) -> None:
    log_model("a", b"weights", tmp_path / "m.pt", aliases=["best"])
    (held,) = server.artifacts
    assert (held.name, held.type, held.version, held.state) == ("model", "model", 0, "COMMITTED")
    assert held.files == {"m.pt": b"weights"} and held.metadata == {"size": 7} and held.made_by == "a"
    assert set(held.aliases) == {"best", "latest"}
    assert held.manifest["contents"]["m.pt"]["size"] == 7


def test_a_version_is_new_only_if_its_bytes_are_and_takes_the_aliases(server: Server, tmp_path: Path) -> None:
    log_model("a", b"one", tmp_path / "m.pt", aliases=["best"])
    log_model("b", b"two", tmp_path / "m.pt", aliases=["best"])
    log_model("c", b"two", tmp_path / "m.pt", aliases=["again"])
    first, second = server.artifacts
    assert (first.version, second.version) == (0, 1)
    assert first.aliases == [] and set(second.aliases) == {"best", "latest", "again"}


def test_a_used_artifact_is_seen_as_used(server: Server, tmp_path: Path) -> None:
    log_model("a", b"one", tmp_path / "m.pt")
    with wandb.init(**START, id="b", settings=settings()) as run:
        folder = run.use_artifact("model:latest").download(root=str(tmp_path / "copy"))
    assert (Path(folder) / "m.pt").read_bytes() == b"one"
    (held,) = server.artifacts
    assert held.used_by == ["b"] and server.runs["tester", "p", "b"].used == [held.id]


def test_a_reference_is_held_without_its_bytes(server: Server, tmp_path: Path) -> None:
    data = wandb.Artifact("voc", "dataset")
    data.add_reference("https://localhost/data.dir", name="data", checksum=False)
    with wandb.init(**START, id="a", settings=settings()) as run:
        run.log_artifact(data).wait(timeout=15)
    (held,) = server.artifacts
    assert held.state == "COMMITTED" and not held.files
    assert held.manifest["contents"]["data"]["ref"] == "https://localhost/data.dir"


def test_the_public_api_reads_a_run_back(server: Server, tmp_path: Path) -> None:
    log("a", [3, 2], group="g", config={"lr": 0.5})
    log("b", [1], group="h")
    api = wandb.Api()
    run = api.run("tester/p/a")
    assert (run.state, run.group, run.config, run.lastHistoryStep) == ("finished", "g", {"lr": 0.5}, 1)
    assert run.summary["loss"] == 2
    assert [row["loss"] for row in run.history(pandas=False)] == [3, 2]
    assert run.history(keys=["loss"], pandas=False) == [{"_step": 0, "loss": 3}, {"_step": 1, "loss": 2}]
    assert [row["loss"] for row in run.scan_history()] == [3, 2]
    assert [row["loss"] for row in run.scan_history(keys=["loss"], page_size=1)] == [3, 2]
    run.file("wandb-summary.json").download(root=str(tmp_path))
    assert (tmp_path / "wandb-summary.json").read_bytes() == server.runs["tester", "p", "a"].files["wandb-summary.json"]
    assert {file.name for file in run.files()} == set(server.runs["tester", "p", "a"].files)
    with pytest.raises(CommError, match="Could not find run"):
        api.run("tester/p/nobody")


def test_the_public_api_finds_runs_by_filters(server: Server) -> None:
    log("a", [3], group="g", tags=["x"], config={"optimizer": {"lr": 0.5}})
    log("b", [1], group="g", config={"optimizer": {"lr": 0.1}})
    api = wandb.Api()

    def found(filters: dict[str, Any], **options: Any) -> list[str]:
        return [run.id for run in api.runs("tester/p", filters=filters, **options)]

    assert found({}) == ["a", "b"] and found({}, order="-created_at", per_page=1) == ["b", "a"]
    assert found({"config.optimizer.lr": {"$gt": 0.2}}) == ["a"]
    assert found({"$and": [{"group": "g"}, {"tags": {"$nin": ["x"]}}]}) == ["b"]
    assert found({"summary_metrics.loss": 1}) == ["b"]
    assert found({"state": "running"}) == []


def test_the_public_api_reads_and_changes_artifacts(server: Server, tmp_path: Path) -> None:
    log_model("a", b"one", tmp_path / "m.pt", aliases=["best"])
    log_model("b", b"two", tmp_path / "m.pt")
    api = wandb.Api()
    artifact = api.artifact("tester/p/model:best")
    assert (artifact.version, artifact.metadata) == ("v0", {"size": 3})
    artifact.aliases.append("gate")
    artifact.aliases.remove("best")
    artifact.metadata["note"] = "passed"
    artifact.save()
    first, _ = server.artifacts
    assert first.aliases == ["gate"] and first.metadata == {"size": 3, "note": "passed"}
    assert api.artifact("tester/p/model:gate").version == "v0" and api.artifact("tester/p/model:latest").version == "v1"
    assert not api.artifact_exists("tester/p/model:best")
    assert [one.version for one in api.artifacts("model", "tester/p/model")] == ["v1", "v0"]
    assert [one.name for one in api.run("tester/p/a").logged_artifacts()] == ["model:v0"]
    artifact.delete(delete_aliases=True)
    assert first.state == "DELETED" and not api.artifact_exists("tester/p/model:v0")


def test_the_client_does_not_notice_that_file_stream_is_not_found(server: Server) -> None:
    """Why tests ask the server: the history is lost, the client says nothing."""
    server.fail("file_stream", 404)
    log("a", [1, 2])
    held = server.runs["tester", "p", "a"]
    assert held.history == [] and not held.complete


@pytest.mark.parametrize("where", ["file_stream", "PUT", "UpsertBucket", "CommitArtifact"])
def test_what_fails_is_sent_again(server: Server, tmp_path: Path, where: str) -> None:
    server.fail(where, 500, times=1)
    path = tmp_path / "m.pt"
    path.write_bytes(b"one")
    with wandb.init(**START, id="a", settings=settings()) as run:
        run.log({"loss": 1})
        run.log_artifact(path, "model", "model")
    assert losses(server.runs["tester", "p", "a"]) == [1]
    assert [(one.state, one.files) for one in server.artifacts] == [("COMMITTED", {"m.pt": b"one"})]


def test_an_upload_that_is_forbidden_leaves_the_artifact_uncommitted(server: Server, tmp_path: Path) -> None:
    server.fail(lambda call: call.path.startswith("/upload/artifact/"), 403)
    with pytest.raises(ValueError, match="have failed, giving up"):
        log_model("a", b"one", tmp_path / "m.pt")
    assert [(one.state, one.files) for one in server.artifacts] == [("PENDING", {})]


def test_an_operation_can_be_answered_with_an_error(server: Server, tmp_path: Path) -> None:
    server.fail("CommitArtifact", 200)
    with pytest.raises(ValueError, match="ordered fault"):
        log_model("a", b"one", tmp_path / "m.pt")
    server.heal()
    log_model("a", b"one", tmp_path / "m.pt")
    assert server.artifacts[-1].state == "COMMITTED"


def test_a_refused_key_is_told_at_once(server: Server) -> None:
    server.refuse_key = True
    with pytest.raises((CommError, wandb.errors.AuthenticationError)):
        log("a", [1])
    assert not server.runs


def test_a_server_that_dies_and_comes_back_lacks_nothing(server: Server) -> None:
    with wandb.init(**START, id="a", settings=settings()) as run:
        run.log({"loss": 2})
        wait_for(lambda: bool(server.runs["tester", "p", "a"].history))
        server.stop()
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0))
        run.log({"loss": 1})
        time.sleep(0.3)  # the client meets the dead server
        server.start()
    held = server.runs["tester", "p", "a"]
    assert losses(held) == [2, 1] and held.exit_code == 0


def test_what_the_server_does_not_know_is_noted(server: Server) -> None:
    log("a", [1])
    assert ask(server, "query Nothing { nothing }")["errors"] == [{"message": "unknown operation Nothing"}]
    with pytest.raises(WandbApiFailedError, match="filter on colour"):
        list(wandb.Api().runs("tester/p", filters={"colour": "red"}))
    assert server.unknown == ["Nothing", "Runs: ValueError('filter on colour')"]
    server.unknown.clear()


def test_a_view_is_updated_by_its_id_and_else_new(server: Server) -> None:
    view = {"entityName": "tester", "projectName": "p", "type": "project-view", "displayName": "Board", "spec": "{}"}
    made = ask(server, "mutation UpsertView2", view | {"name": "nw-1-v"})["data"]["upsertView"]
    changed = {"id": made["view"]["id"], "name": "nw-1-v", "displayName": "Board 2", "spec": '{"section": 1}'}
    assert (
        made["inserted"] and not ask(server, "mutation UpsertView2", view | changed)["data"]["upsertView"]["inserted"]
    )
    ask(server, "mutation UpsertView2", view | {"name": "nw-2-v"})
    assert [(one.name, one.display_name, one.spec) for one in server.views.values()] == [
        ("nw-1-v", "Board 2", {"section": 1}),
        ("nw-2-v", "Board", {}),
    ]
    with pytest.raises(HTTPError, match="404"):
        ask(server, "mutation UpsertView2", view | {"id": "nobody", "name": "nw-3-v"})
    query = {"viewType": "project-view", "entityName": "tester", "name": "p", "viewName": "nw-1-v"}
    (edge,) = ask(server, "query View", query)["data"]["project"]["allViews"]["edges"]
    assert edge["node"]["displayName"] == "Board 2"


def test_workspaces_and_reports_are_saved_and_loaded(server: Server) -> None:
    workspaces = pytest.importorskip("wandb_workspaces.workspaces", reason="the extra for dashboards is not installed")
    from wandb_workspaces.reports import v2 as reports

    plot = reports.LinePlot(x="Step", y=["loss"])
    board = workspaces.Workspace("tester", "p", name="Board", sections=[workspaces.Section(name="s", panels=[plot])])
    board.save()
    again = workspaces.Workspace.from_url(board.url)
    again.name = "Renamed"
    again.save()
    report = reports.Report("p", "tester", title="Best", blocks=[reports.H1("Trials")])
    report.save()
    report.save()
    assert [(one.type, one.display_name, one.upserts) for one in server.views.values()] == [
        ("project-view", "Renamed", 2),
        ("runs", "Best", 2),
    ]
    assert [one.display_name for one in wandb.Api().reports("tester/p")] == ["Best"]
    assert reports.Report.from_url(report.url).blocks == report.blocks
    assert report.delete() and len(server.views) == 1
