"""Laws of the dashboard: it names only what runs have, is the same every time, and is saved once however often."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reprolens.__main__ import main
from reprolens.errors import TrackingError
from reprolens.sweeps.record import Sweep, Trial, write_sweep, write_trial
from reprolens.tracking.dashboard.subject import (
    USUAL,
    Subject,
    TrialRun,
    ranked,
    read_trials,
    summary_key,
    swept_keys,
)
from reprolens.tracking.media import build_media
from reprolens.tracking.publish import publish
from reprolens.tracking.reports import read_reports

pytest.importorskip("wandb_workspaces", reason="the extra dashboard is not installed")

from reprolens.tracking.dashboard.report import build_report, introduction, table
from reprolens.tracking.dashboard.save import save, specification
from tracking.dashboards import RUNS, SUBJECT, grids, named, specs, table_key, trial

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(
    build: Callable[..., Any], read_run: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """What a published run holds, read back from its folder."""
    repository = build(tmp_path_factory.mktemp("repository"))
    return read_run(repository.root / publish(repository.root, repository.config)["folder"])


def test_every_key_that_a_panel_or_a_column_names_is_one_that_a_published_run_has(written: Any) -> None:
    workspace, report = specs()
    names = {
        name.removeprefix("summary:")
        for panels in grids(workspace, report)
        for panel in panels
        for name in named(panel)
    }
    names |= {name.removeprefix("summary:") for name in workspace["section"]["runSets"][0]["runFeed"]["columnOrder"]}
    known = set(written.summary).union(*written.history)
    unknown = []
    for name in sorted(names):
        section, _, key = name.partition(":")
        if section == "config":
            first, _, rest = key.partition(".value")
            value = written.config[first]
            unknown += [] if not rest or rest[1:] in value else [name]
        elif section != "run" and name not in known and not name.startswith("coco/ap/"):  # the fixture has no such ends
            unknown.append(name)
    assert len(names) > 30
    assert unknown == []


def test_charts_are_asked_for_as_the_run_itself_asks_for_them(repository: Any) -> None:
    from wandb.plot.custom_chart import CustomChart

    own = {}
    for key, chart in build_media(read_reports(repository.root / "reports")).items():
        if isinstance(chart, CustomChart):
            chart.set_key(key)
            config = chart.spec.config_value["panel_config"]
            own[chart.spec.table_key] = (config["panelDefId"], config["fieldSettings"], config["transform"])
    panels = [panel for grid in grids(*specs()) for panel in grid if panel["viewType"] == "Vega2"]
    ours = {
        table_key(panel): tuple(panel["config"][name] for name in ("panelDefId", "fieldSettings", "transform"))
        for panel in panels
    }
    shared = own.keys() & ours.keys()
    assert shared == {
        *("curves/precision_recall_table", "curves/confusion_table"),
        *("curves/thresholds_table", "curves/reliability_table"),
    }
    assert {key: ours[key] for key in shared} == {key: own[key] for key in shared}


def test_chart_of_classes_names_columns_of_their_table(written: Any) -> None:
    from reprolens.tracking.dashboard.panels import class_panels

    bars = class_panels()[0]
    path = written.folder / "files" / written.media("tables/per_class")["path"]
    assert set(bars.chart_fields.values()) <= set(json.loads(path.read_text())["columns"])


def test_panels_lie_within_the_grid_and_none_over_another() -> None:
    for panels in grids(*specs()):
        cells = set()
        for panel in panels:
            layout = panel["layout"]
            assert layout["x"] + layout["w"] <= 24
            own = {
                (x, y)
                for x in range(layout["x"], layout["x"] + layout["w"])
                for y in range(layout["y"], layout["y"] + layout["h"])
            }
            assert not cells & own, panel
            cells |= own
        assert panels


def test_specification_survives_the_library_that_reads_it_back() -> None:
    from wandb_workspaces.reports.v2.internal import Spec
    from wandb_workspaces.workspaces.internal import WorkspaceViewspec

    for view, model in zip(specification(SUBJECT, RUNS), (WorkspaceViewspec, Spec), strict=True):
        again = model.model_validate_json(view.spec).model_dump_json(by_alias=True, exclude_none=True)
        assert json.loads(again.replace(',"inlineComments":[]', "")) == json.loads(view.spec)


def test_same_subject_and_runs_make_the_same_specification() -> None:
    assert specification(SUBJECT, RUNS) == specification(SUBJECT, tuple(reversed(RUNS)))
    ids = [panel["__id__"] for panels in grids(*specs()) for panel in panels]
    assert all(len(id) == 12 for id in ids)


def test_each_sweep_has_a_report_of_its_own_and_all_share_the_workspace() -> None:
    (space, one), (same, other) = specification(SUBJECT, RUNS), specification(Subject("p", None, "coco/ap"), ())
    assert (space.name, space.type, space.title) == (same.name, same.type, same.title)
    assert one.name != other.name
    assert space.name.startswith("nw-") and space.name.endswith("-v")


def test_report_shows_the_best_runs_alone_and_their_sweep() -> None:
    _, report = specs()
    filters = [
        item
        for block in report["blocks"]
        if block["type"] == "panel-grid"
        for item in block["metadata"]["runSets"][0]["filters"]["filters"]
    ]
    assert filters[0]["key"] == {"section": "run", "name": "name"}
    assert [item["value"] for item in filters] == [["id3", "id2", "id1"]] * 4 + ["lr=1+2"]


def test_report_without_a_finished_trial_says_so() -> None:
    report = build_report(SUBJECT, ())
    assert "No finished trial of sweep lr=1+2 has `voc12/map50` yet." in report.blocks[0].text


def test_table_says_each_number_with_its_interval_and_escapes_names() -> None:
    lines = table(SUBJECT, ranked(RUNS, SUBJECT)).splitlines()
    assert lines[2].startswith(r"| 1 | trial\_3\|x | 0.960 [0.950, 0.970] | yolox\_nano | 0.003 | 1 |")
    assert lines[2].endswith("| 2.5 | - | - | 284 |")
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_text_names_the_trials_that_the_intervals_do_not_tell_apart() -> None:
    text = introduction(SUBJECT, "sweep s", 3, ranked(RUNS, SUBJECT))
    assert r"**trial\_3\|x** overlaps that of **trial\_2\|x**:" in text
    assert r"trial\_1" not in text
    assert "overlaps" not in introduction(SUBJECT, "sweep s", 1, [RUNS[2]])


def test_text_says_that_trials_are_ranked_by_val_and_told_by_test() -> None:
    subject = Subject("digits", "tester", summary_key("val/map", RUNS), swept=("seed",), sweep="s")
    runs = [TrialRun(run.id, run.name, run.config, {**run.summary, "train/val/map": 0.5}) for run in RUNS]
    text = introduction(subject, "sweep s", 3, ranked(runs, subject))
    assert "with the highest `train/val/map`, measured on the val split (what the evaluated pictures say" in text
    assert "In brackets stands the 95 % interval" in text
    assert "overlaps" not in text
    row = table(subject, ranked(runs, subject)).splitlines()[2]
    assert row.startswith(r"| 1 | trial\_1\|x | 0.500 | 1 | 0.900 [0.890, 0.910] |")


def test_ranking_follows_the_direction_and_leaves_out_what_has_no_objective() -> None:
    runs = (*RUNS, TrialRun("id4", "none", {}, {"voc12/map50": None}))
    assert [run.id for run in ranked(runs, SUBJECT)] == ["id3", "id2", "id1"]
    less = Subject("p", None, "voc12/map50", lower_is_better=True)
    assert [run.id for run in ranked(runs, less)] == ["id1", "id2", "id3"]


def test_swept_names_lead_to_keys_of_the_configuration() -> None:
    runs = (trial(1, 0.9, augment={"mosaic": 0.0, "crop": 0.5}), trial(2, 0.9, augment={"mosaic": 1.0, "crop": 0.5}))
    names = ("model", "+optimizer.lr", "augment", "gone")
    assert swept_keys(names, runs) == ("model.name", "optimizer.lr", "augment.mosaic")
    assert swept_keys((), runs) == ("optimizer.lr", "augment.mosaic")
    assert swept_keys((), ()) == swept_keys((), runs[:1]) == USUAL
    assert swept_keys(("optimizer.lr",), ()) == ("optimizer.lr",)


def test_objective_of_another_report_gets_the_name_that_runs_give_it() -> None:
    assert summary_key("seconds", RUNS) == "train/seconds"
    assert summary_key("voc12/map50", RUNS) == "voc12/map50"
    assert summary_key("unheard/of", RUNS) == "unheard/of"
    assert summary_key("val/map", RUNS) == summary_key("train/val/map", ()) == "train/val/map"


def test_trials_are_grouped_over_seeds_and_only_then() -> None:
    grouping = specs()[0]["section"]["runSets"][0]["grouping"]
    assert [key["name"] for key in grouping] == ["model.value.name", "optimizer.value.lr"]
    alone = Subject("p", None, "coco/ap", swept=("optimizer.lr",))
    assert specs(alone)[0]["section"]["runSets"][0]["grouping"] == []


@pytest.fixture
def swept(build: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, entered, with the sweep `s` of one finished trial and one that was never started."""
    shutil.copytree(REPOSITORY / "conf", tmp_path / "conf")
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    folder = tmp_path / "multirun" / "s"
    workspace = build(folder / "0").root
    (workspace / "reports" / "run.json").write_text(json.dumps({"id": "abc", "name": "one", "mode": "offline"}))
    for number in (0, 1):
        write_trial(folder, Trial(number, "0" * 8, {"model": "x", "optimizer.lr": 0.001}))
    overrides = ("model=a,b", "tracking.project=elsewhere")
    write_sweep(
        folder, Sweep("s", overrides, ("seconds",), ("minimize",), (0, 1), 2, "tree", "base", "cache", started=0.0)
    )
    monkeypatch.chdir(tmp_path)
    return folder


def test_json_of_a_sweep_needs_no_account(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--sweep", "s", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["report"]["title"] == "Best trials of sweep s"
    assert "The 1 of 1 finished trials" in json.dumps(shown["report"]["spec"])
    run_set = shown["workspace"]["spec"]["section"]["runSets"][0]
    assert run_set["sort"]["keys"] == [{"key": {"section": "summary", "name": "train/seconds"}, "ascending": True}]
    assert {"config:model.value.name", "config:optimizer.value.lr"} <= set(run_set["runFeed"]["columnOrder"])
    assert [run.id for run in read_trials([swept / "0", swept / "1"])] == ["abc"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [(["--best", "0"], "--best 0: must be at least 1"), (["--sweep", "none"], "none: no sweep here")],
)
def test_wrong_arguments_end_in_one_line(
    arguments: list[str], line: str, swept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dashboard", "--json", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"error: {line}")


def test_without_the_extra_one_line_says_what_to_install(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("wandb_workspaces", "reprolens.tracking.dashboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert main(["dashboard"]) == 2
    assert capsys.readouterr().err == "error: dashboard: needs wandb-workspaces; pip install 'reprolens[dashboard]'\n"


def test_without_a_key_one_line_says_so(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: dashboard: no W&B key is set") and error.count("\n") == 1


def test_without_a_server_one_line_says_so_within_seconds(
    swept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    started = time.monotonic()
    assert main(["dashboard"]) == 2
    assert time.monotonic() - started < 5
    error = capsys.readouterr().err
    assert error.startswith("error: dashboard: no W&B server answers at http://127.0.0.1:9 (Connection refused); ")
    assert error.count("\n") == 1


def test_key_that_the_server_refuses_ends_in_one_line(
    swept: Path, server: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuse_key = True
    assert main(["dashboard"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: dashboard: W&B does not let us in (") and error.count("\n") == 1


def test_command_saves_and_says_where(swept: Path, server: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboard", "--sweep", "s"]) == 0
    workspace, report = capsys.readouterr().out.splitlines()
    assert workspace.startswith("dashboard: workspace saved, ") and "/tester/elsewhere?nw=" in workspace
    assert report.startswith("dashboard: report saved, ") and "/tester/elsewhere/reports/" in report
    assert sorted(view.project for view in server.views.values()) == ["elsewhere"] * 2


@pytest.fixture
def online(server: Any) -> Any:
    """A server that holds two finished trials of the sweep `s`, a failed one, and one of no sweep."""
    import wandb

    trials = (
        ("one", "s", 0.001, 0.9, 0),
        ("two", "s", 0.01, 0.8, 0),
        ("bad", "s", 0.1, 0.99, 1),
        ("solo", None, 1, 0.7, 0),
    )
    for id, group, lr, value, code in trials:
        run = wandb.init(
            entity="tester", project="digits", id=id, group=group, job_type="trial",
            config={"model": {"name": "fcos"}, "optimizer": {"lr": lr}},
            settings=wandb.Settings(silent=True, console="off", x_disable_meta=True, x_disable_stats=True),
        )  # fmt: skip
        run.summary.update({"voc12/map50": value, "voc12/map50/low": value - 0.05, "voc12/map50/high": value + 0.05})
        run.finish(exit_code=code)
    return server


def test_saved_twice_there_is_one_workspace_and_one_report(online: Any) -> None:
    subject = Subject("digits", None, "voc12/map50", sweep="s")
    first = save(subject)
    views = {view.type: view for view in online.views.values()}
    before = {kind: json.dumps(view.spec) for kind, view in views.items()}
    assert not first.updated and set(views) == {"project-view", "runs"} and len(online.views) == 2
    assert first.workspace.endswith(f"/tester/digits?nw={views['project-view'].name[3:-2]}")
    assert first.report.endswith(f"/tester/digits/reports/Best-trials-of-sweep-s--{views['runs'].id.rstrip('=')}")

    views["runs"].display_name = "renamed by hand"
    again = save(subject)
    assert again.updated and (again.workspace, again.report) == (first.workspace, first.report)
    assert len(online.views) == 2
    assert {view.type: json.dumps(view.spec) for view in online.views.values()} == before
    assert views["runs"].display_name == "Best trials of sweep s"


def test_runs_of_the_server_decide_what_is_compared(online: Any) -> None:
    save(Subject("digits", "tester", "voc12/map50", sweep="s"), best=1)
    (report,) = (json.dumps(view.spec) for view in online.views.values() if view.type == "runs")
    assert "The 1 of 2 finished trials" in report and "0.900 [0.850, 0.950]" in report
    assert '"value": ["one"]' in report and "vary: `optimizer.lr`" in report

    save(Subject("digits", "tester", "voc12/map50", lower_is_better=True))
    kinds = [view.type for view in online.views.values()]
    assert sorted(kinds) == ["project-view", "runs", "runs"]
    (workspace,) = (view.spec for view in online.views.values() if view.type == "project-view")
    assert workspace["section"]["runSets"][0]["sort"]["keys"][0]["ascending"] is True
    assert any('"value": ["solo", "two", "one"]' in json.dumps(view.spec) for view in online.views.values())


def test_what_the_server_refuses_is_one_line(online: Any) -> None:
    online.fail("upsertView", 403)
    with pytest.raises(TrackingError, match="W&B did not save the dashboard") as caught:
        save(Subject("digits", "tester", "voc12/map50"))
    assert "\n" not in str(caught.value)
    assert not online.views


def test_a_panel_shows_every_kind_of_error_that_the_evaluation_knows() -> None:
    from reprolens.evaluation.findings.errors import KINDS
    from reprolens.tracking.dashboard.panels import ERRORS

    assert tuple(KINDS) == ERRORS
