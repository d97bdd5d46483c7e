"""The live table over sweep folders that change while they are watched."""

import io
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reprolens.sweeps import table
from reprolens.sweeps.live import Progress, Reader
from reprolens.sweeps.record import Status, Sweep, Trial, write_sweep, write_trial
from reprolens.sweeps.table import render_table, select_rows, summary_line, watching

STARTED = 1000.0
HEADER = "epoch,global_step,lr,train/loss,val/map50,val/map,seconds\n"
STAGES = {name: {"seconds": 10.0, "executed": True} for name in ("convert", "train", "evaluate", "export", "track")}


def plan(folder: Path, total: int, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "name": "s",
        "overrides": (),
        "metrics": ("voc12/map50",),
        "directions": ("maximize",),
        "trials": tuple(range(total)),
        "total": total,
        "tree": "t",
        "baseline": "b",
        "cache": "c",
        "started": STARTED,
    }
    write_sweep(folder, Sweep(**values | changes))
    return folder


def running(folder: Path, number: int, log: str = "", rows: str = "", started: float = STARTED) -> Path:
    write_trial(folder, Trial(number, "", {"lr": number}, Status.running, started=started))
    workspace = folder / str(number)
    (workspace / "reports").mkdir()
    (workspace / "config.yaml").write_text("trainer:\n  max_epochs: 10\n")
    (workspace / "dvc.log").write_text(log)
    (workspace / "reports" / "history.csv").write_text(HEADER + rows)
    return workspace


def done(folder: Path, number: int, value: float = 0.5, seconds: float = 60.0, **changes: Any) -> None:
    values = {"stages": STAGES, "started": STARTED, "finished": STARTED + seconds} | changes
    write_trial(folder, Trial(number, "", {"lr": number}, Status.done, (value,), **values))


def only(folder: Path, now: float = STARTED) -> Progress:
    glance = Reader(folder).glance(now)
    assert glance is not None
    (item,) = glance.trials
    return item


def drawn(folder: Path, rows: int = 20, width: int = 120) -> str:
    glance = Reader(folder).glance(STARTED + 30)
    assert glance is not None
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render_table(glance, rows))
    return console.export_text()


def test_running_trial_shows_stage_epoch_best_metric_and_time(tmp_path: Path) -> None:
    rows = "1,44,0.1,1.8,0.61,0.3,35\n2,88,0.1,1.1,0.93,0.5,60\n3,132,0.1,1.0,0.91,0.6,90\n"
    log = "Running stage 'compose':\n> python\nRunning stage 'train':\n> python -m pipelines.train\n"
    running(plan(tmp_path, 1), 0, log, rows)
    item = only(tmp_path, STARTED + 100)
    assert (item.stage, item.epoch, item.epochs, item.best, item.elapsed) == ("train", 3, 10, 0.93, 100.0)
    assert item.left == pytest.approx(7 * 30)  # seven epochs at 30 s
    for text in ("train", "3/10", "val 0.9300"):
        assert text in drawn(tmp_path)


def test_metric_of_a_running_trial_is_the_one_nearest_to_the_objective(tmp_path: Path) -> None:
    running(plan(tmp_path, 1, metrics=("coco/ap",)), 0, "Running stage 'train':\n", "1,44,0.1,1.8,0.61,0.3,35\n")
    assert only(tmp_path).best == 0.3


def test_half_written_files_are_passed_over(tmp_path: Path) -> None:
    workspace = running(
        plan(tmp_path, 3), 0, "Running stage 'train':\nRunning stage 'eval", "1,44,0.1,1.8,0.6,0.3,35\n2,"
    )
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "trial.json").write_text('{"number": 1, "id"')
    (workspace / "config.yaml").write_text("trainer: {max_ep")
    item = only(tmp_path)
    assert (item.stage, item.epoch, item.epochs) == ("train", 1, None)


def test_stage_is_remembered_when_its_line_is_far_up_in_the_log(tmp_path: Path) -> None:
    workspace = running(plan(tmp_path, 1), 0, "Running stage 'train':\n")
    reader = Reader(tmp_path)
    reader.glance(STARTED)
    with (workspace / "dvc.log").open("a") as log:
        log.write("train 1/528\n" * 20_000)
    glance = reader.glance(STARTED)
    assert glance is not None
    assert glance.trials[0].stage == "train"
    with (workspace / "dvc.log").open("a") as log:
        log.write("Running stage 'evaluate':\n")
    glance = reader.glance(STARTED)
    assert glance is not None
    assert glance.trials[0].stage == "evaluate"


def test_history_of_an_earlier_run_is_not_shown_before_training(tmp_path: Path) -> None:
    running(plan(tmp_path, 1), 0, "Running stage 'convert':\n", "1,44,0.1,1.8,0.61,0.3,35\n")
    assert only(tmp_path).epoch is None


def test_trial_that_an_earlier_start_left_running_waits(tmp_path: Path) -> None:
    plan(tmp_path, 1, started=time.time() + 100)
    running(tmp_path, 0, started=STARTED)
    assert only(tmp_path).trial.status == Status.waiting


def test_time_left_is_what_trials_take_divided_by_the_workers(tmp_path: Path) -> None:
    plan(tmp_path, 8)
    done(tmp_path, 0)
    running(tmp_path, 1)
    running(tmp_path, 2)
    glance = Reader(tmp_path).glance(STARTED + 20)
    assert glance is not None
    assert glance.left == pytest.approx((2 * 40 + 5 * 60) / 2)
    assert summary_line(glance) == "1 of 8 done, 2 running, 5 waiting, about 3 min 10 s left"


def test_trials_that_came_from_the_cache_say_nothing_of_the_time_left(tmp_path: Path) -> None:
    plan(tmp_path, 3)
    done(tmp_path, 0, seconds=60)
    done(tmp_path, 1, seconds=2, stages={"train": {"seconds": 0.1, "executed": False}})
    glance = Reader(tmp_path).glance(STARTED)
    assert glance is not None
    assert glance.left == pytest.approx(60)


def test_nothing_is_left_of_a_finished_sweep(tmp_path: Path) -> None:
    done(plan(tmp_path, 1), 0)
    glance = Reader(tmp_path).glance()
    assert glance is not None
    assert summary_line(glance) == "1 of 1 done"


def test_table_of_hundreds_of_trials_is_no_higher_than_the_screen(tmp_path: Path) -> None:
    plan(tmp_path, 300)
    for number in range(290):
        done(tmp_path, number, number / 300)
    for number in range(290, 293):
        running(tmp_path, number)
    glance = Reader(tmp_path).glance(STARTED)
    assert glance is not None
    shown = [item.trial.number for item in select_rows(glance, 10)]
    assert shown == [290, 291, 292, 289, 288, 287, 286, 285]
    assert len(drawn(tmp_path, rows=10).rstrip().splitlines()) <= 14
    assert "290 of 300 done, 3 running, 7 waiting" in drawn(tmp_path, rows=10)


def test_narrow_screen_cuts_the_parameters_and_nothing_else(tmp_path: Path) -> None:
    parameters = {"model": "ssdlite320_mobilenet_v3_large", "optimizer.weight_decay": 0.0005}
    values = {"started": STARTED, "finished": STARTED + 612, "stages": STAGES}
    write_trial(plan(tmp_path, 1), Trial(0, "", parameters, Status.done, (0.5,), **values))
    row = drawn(tmp_path, width=80).splitlines()[1]
    assert "ssdlite" in row
    assert "…" in row
    assert row.split()[-3:] == ["12", "s", "-"]
    assert "0.5000" in row


def test_looking_again_at_hundreds_of_trials_is_cheap(tmp_path: Path) -> None:
    plan(tmp_path, 300)
    for number in range(300):
        done(tmp_path, number)
    reader = Reader(tmp_path)
    reader.glance()
    started = time.process_time()
    reader.glance()
    assert time.process_time() - started < 0.2


def test_values_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    write_trial(plan(tmp_path, 1), Trial(0, "", {"model": "[red]x[/red]", "size": [1, 2]}, Status.waiting))
    assert "[red]x[/red]" in drawn(tmp_path)
    assert "[1, 2]" in drawn(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "INTERVAL", 0.02)


def test_plain_lines_tell_when_a_trial_starts_ends_and_fails(tmp_path: Path, quick: None) -> None:
    output = io.StringIO()
    done(plan(tmp_path, 4), 0, started=STARTED - 61, finished=STARTED - 1)  # by an earlier start: no news
    with watching(tmp_path, Console(file=output, width=60)):
        running(tmp_path, 1)
        _until(lambda: "started" in output.getvalue())
        done(tmp_path, 1, 0.75)
        _until(lambda: "done" in output.getvalue())
        write_trial(
            tmp_path, Trial(2, "", {}, Status.failed, error="out of [memory]", started=STARTED, finished=1003.0)
        )
    assert output.getvalue().splitlines() == [
        "trial 1 started: lr=1",
        "trial 1 done after 1 min 0 s: voc12/map50 0.7500",
        "trial 2 failed after 3.0 s: out of [memory]",  # seen when the block ended
        "2 of 4 done, 1 waiting, 1 failed, about 1 min 0 s left",
    ]


def test_now_and_then_a_plain_line_tells_what_runs(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "PLAIN_INTERVAL", 0.0)
    output = io.StringIO()
    running(plan(tmp_path, 2), 0, "Running stage 'train':\n", "1,44,0.1,1.8,0.61,0.3,35\n")
    with watching(tmp_path, Console(file=output)):
        _until(lambda: output.getvalue().count("\n") > 2)
    assert "0 of 2 done, 1 running, 1 waiting" in output.getvalue()
    assert "; trial 0 train 1/10\n" in output.getvalue()


def test_last_state_stays_on_the_terminal(tmp_path: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100, height=30)
    with watching(plan(tmp_path, 1), console):
        done(tmp_path, 0, 0.75)
    assert "0.7500" in output.getvalue()
    assert "1 of 1 done" in output.getvalue()


def test_watching_a_folder_that_is_not_there_does_not_disturb_what_is_watched(tmp_path: Path, quick: None) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "sweep.json").write_text("{")
    for folder in (tmp_path / "nothing", tmp_path / "damaged"):
        output = io.StringIO()
        with watching(folder, Console(file=output)):
            time.sleep(0.1)
        assert output.getvalue() == ""


def test_error_in_the_watched_block_comes_out(tmp_path: Path, quick: None) -> None:
    with pytest.raises(KeyError), watching(plan(tmp_path, 1), Console(file=io.StringIO())):
        raise KeyError


def _until(true: Any) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
