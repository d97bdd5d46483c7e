"""Real sweeps of cheap stages: shared work is done once, all is recorded, failures and bad input are contained."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TWO_WORKERS = ("-m", "hydra/launcher=joblib")
ON_VAL = ("evaluate.split=val", "sweep.metric=voc12/map50")
SHARED = (*TWO_WORKERS, *ON_VAL, "sweep.name=shared", "data.train=70,80", "evaluate.score_threshold=0.3,0.4,0.5")
FAILING = (*TWO_WORKERS, "sweep.name=failing")
FAILS = {"CHEAP_FAILING_LR": "0.003"}


@dataclass(frozen=True)
class Ran:
    """A sweep of six trials over two data configurations that was run cold with two workers, and its repository."""

    project: Any
    output: str
    stages: dict[str, int]

    def experiment(self, number: int) -> str:
        """Return the name of a trial's experiment."""
        return str(self.project.trials("shared")[number]["experiment"])


@pytest.fixture(scope="module")
def ran(shared_project: Any) -> Ran:
    since = shared_project.mark()
    output = shared_project.finish(*SHARED)
    return Ran(shared_project, output, dict(shared_project.executed(since)))


@pytest.fixture
def clean(shared_project: Any) -> Iterator[None]:
    """Put the repository's files back after the test; what Git ignores, the sweeps too, stays."""
    yield
    shared_project.git("reset", "-q", "--hard")
    shared_project.git("clean", "-fdq")


def errors(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Return the lines in which a command that the user has to mend says so, after looking that it does it well."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == lines[0], done.stderr
    return lines


# ---- shared once, idempotent


@pytest.mark.slow
def test_each_distinct_stage_result_is_computed_once_by_two_workers_from_a_cold_start(ran: Ran) -> None:
    assert ran.stages == {"convert": 2, "pretrain": 2, "train": 2, "evaluate": 6, "export": 6, "track": 6}
    assert ran.project.statuses("shared") == ["done"] * 6
    assert ran.project.events("collision") == []


@pytest.mark.slow
def test_leaderboard_shows_each_trial_with_its_own_values(ran: Ran) -> None:
    trials = ran.project.trials("shared")
    thresholds = {(trial["parameters"]["evaluate.score_threshold"], trial["values"][0]) for trial in trials.values()}
    assert {(threshold, round(value, 4)) for threshold, value in thresholds} == {
        (threshold, round(0.901 - threshold / 10, 4)) for threshold in (0.3, 0.4, 0.5)
    }
    assert "6 of 6 trials done" in ran.output


@pytest.mark.slow
def test_output_holds_no_warnings_of_the_libraries(ran: Ran) -> None:
    done = ran.project.sweep(*SHARED, "--dry-run")
    assert done.stderr == ""


@pytest.mark.slow
def test_same_command_again_executes_nothing_also_after_dvc_gc_of_all_that_is_no_experiment(ran: Ran) -> None:
    project = ran.project
    collected = project.run("dvc", "gc", "--workspace", "--all-experiments", "--force")
    assert collected.returncode == 0, collected.stderr
    before, since, started = project.trials("shared"), project.mark(), time.monotonic()
    output = project.finish(*SHARED)
    seconds = time.monotonic() - started
    assert project.executed(since) == {}
    assert "6 of them done before" in output
    assert "train 0 of 2" in output
    assert seconds < 6 * 5, f"{seconds:.1f} s for 6 trials that are done"
    for number, trial in project.trials("shared").items():
        assert {key: trial[key] for key in ("id", "values", "experiment", "status")} == {
            key: before[number][key] for key in ("id", "values", "experiment", "status")
        }


@pytest.mark.slow
def test_dry_run_says_what_is_cached_and_what_the_rest_costs_and_does_nothing(ran: Ran) -> None:
    project = ran.project
    folders = sorted(path for path in (project.root / "multirun").rglob("*") if path.is_file())
    times, since = [path.stat().st_mtime_ns for path in folders], project.mark()
    more = ["data.train=70,80,90" if each.startswith("data.train") else each for each in SHARED]
    output = project.finish("--dry-run", *more)
    assert output.startswith("multirun/shared: 9 trials, 6 of them done before\n")
    assert "convert 1 of 3" in output and "train 1 of 3" in output and "evaluate 3 of 9" in output
    assert re.search(r"^about \d.* with 2 at a time, \d+ MB of disk$", output, flags=re.MULTILINE)
    after = sorted(path for path in (project.root / "multirun").rglob("*") if path.is_file())
    assert (after, [path.stat().st_mtime_ns for path in after]) == (folders, times)
    assert project.executed(since) == {}


def test_dry_run_in_a_repository_without_sweeps_writes_no_sweep_and_owns_to_no_estimate(new_project: Any) -> None:
    project = new_project()
    output = project.finish("--dry-run", "-m", "optimizer.lr=1e-3,2e-3", "seed=1,2,3")
    assert re.match(r"multirun/\S+: 6 trials\n", output)
    assert "train 6 of 6" in output and "convert 3 of 3" in output
    assert "no estimate of time and disk" in output
    assert list(project.root.glob("multirun/*")) == []
    assert project.git("status", "--porcelain") == ""


# ---- recorded


@pytest.mark.slow
def test_dvc_lists_every_trial_as_an_experiment(ran: Ran) -> None:
    shown = ran.project.run("dvc", "exp", "show", "--json")
    assert shown.returncode == 0, shown.stderr
    names = set(re.findall(r'"name": "(shared-\w+)"', json.dumps(json.loads(shown.stdout))))
    assert names == {ran.experiment(number) for number in range(6)}


@pytest.mark.slow
def test_nothing_has_changed_after_an_experiment_was_applied(ran: Ran, clean: None) -> None:
    project, since = ran.project, ran.project.mark()
    applied = project.run("dvc", "exp", "apply", ran.experiment(4))
    assert applied.returncode == 0, applied.stderr
    done = project.run("dvc", "repro")
    assert "Data and pipelines are up to date." in done.stdout, done.stdout + done.stderr
    assert project.executed(since) == {}
    report = json.loads((project.root / "reports" / "evaluation.json").read_text())
    assert report["voc12/map50"] == project.trials("shared")[4]["values"][0]


@pytest.mark.slow
def test_experiment_becomes_a_branch_and_can_be_pushed_with_its_outputs(ran: Ran, tmp_path: Path, clean: None) -> None:
    project, name = ran.project, ran.experiment(1)
    branched = project.run("dvc", "exp", "branch", name, "of-a-trial")
    assert branched.returncode == 0, branched.stderr
    assert "score_threshold: 0.4" in project.git("show", "of-a-trial:params.yaml")
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "git")], check=True)
    project.git("remote", "add", "origin", str(tmp_path / "git"))
    project.run("dvc", "remote", "add", "--local", "--default", "there", str(tmp_path / "store"))
    pushed = project.run("dvc", "exp", "push", "origin", name)
    assert pushed.returncode == 0, pushed.stdout + pushed.stderr
    refs = subprocess.run(["git", "show-ref"], cwd=tmp_path / "git", capture_output=True, text=True, check=True).stdout
    assert refs.splitlines()[-1].endswith(f"/{name}")
    lock = project.git("show", "of-a-trial:dvc.lock")
    hashes = re.findall(r"path: weights/model.pt\n\s+hash: md5\n\s+md5: (\w+)", lock)
    assert hashes
    assert all((tmp_path / "store" / "files" / "md5" / each[:2] / each[2:]).is_file() for each in hashes)


@pytest.mark.slow
def test_uncommitted_edit_and_new_file_run_with_the_trial_and_are_recorded(new_project: Any) -> None:
    project = new_project()
    source, new = project.root / "pipelines" / "train.py", project.root / "src" / "reprolens" / "training" / "own.py"
    source.write_text(source.read_text() + "# an edit\n")
    new.write_text("# a new file\n")
    before = project.git("status", "--porcelain")
    project.finish("sweep.name=edited")
    assert project.git("status", "--porcelain") == before
    workspace = project.root / "multirun" / "edited" / "0"
    assert (workspace / "pipelines" / "train.py").read_text().endswith("# an edit\n")
    patch = (workspace / "changes.patch").read_text()
    assert "+# an edit" in patch and "+# a new file" in patch
    project.git("stash", "--include-untracked")
    since = project.mark()
    applied = project.run("dvc", "exp", "apply", project.trials("edited")[0]["experiment"])
    assert applied.returncode == 0, applied.stderr
    assert (source.read_text().endswith("# an edit\n"), new.read_text()) == (True, "# a new file\n")
    done = project.run("dvc", "repro")
    assert "Data and pipelines are up to date." in done.stdout, done.stdout + done.stderr
    assert project.executed(since) == {}


# ---- contained


@pytest.mark.slow
def test_one_failing_trial_stops_no_other_and_is_retried_only_when_asked(shared_project: Any) -> None:
    project = shared_project
    output = project.finish(*FAILING, "optimizer.lr=4e-3,2e-3,3e-3,5e-3", **FAILS)
    assert project.statuses("failing") == ["done", "done", "failed", "done"]
    first = project.trials("failing")
    assert first[2]["error"] == "loss is not finite at step 7; lower optimizer.lr"
    assert any("step 6: loss 12.5" in line for line in first[2]["tail"])
    assert "loss is not finite at step 7; lower optimizer.lr" in output

    # An added value runs only the new trial; the failed one would succeed now, but is not asked to.
    since = project.mark()
    project.finish(*FAILING, "optimizer.lr=4e-3,2e-3,3e-3,5e-3,6e-3")
    assert project.statuses("failing") == ["done", "done", "failed", "done", "done"]
    assert project.executed(since) == {"train": 1, "evaluate": 1, "export": 1, "track": 1}
    later = project.trials("failing")
    assert [later[number]["id"] for number in range(4)] == [first[number]["id"] for number in range(4)]
    assert [later[number]["values"] for number in range(4)] == [first[number]["values"] for number in range(4)]

    since = project.mark()
    project.finish(*FAILING, "optimizer.lr=3e-3", "sweep.retry_failed=true")
    assert project.statuses("failing") == ["done"] * 5
    assert project.executed(since) == {"train": 1, "evaluate": 1, "export": 1, "track": 1}


@pytest.mark.slow
def test_a_single_trial_that_fails_ends_with_the_stage_s_own_line_and_runs_again_after_an_edit(
    new_project: Any,
) -> None:
    project = new_project()
    alone = ("sweep.name=alone", "optimizer.lr=3e-3")
    assert errors(project.sweep(*alone, **FAILS)) == [
        "error: alone: loss is not finite at step 7; lower optimizer.lr",
    ]
    since = project.mark()
    errors(project.sweep(*alone))
    assert project.executed(since) == {}
    source = project.root / "pipelines" / "train.py"
    source.write_text(source.read_text() + "# mended\n")
    project.finish(*alone)
    assert project.statuses("alone") == ["done"]


@pytest.mark.slow
def test_above_the_failure_rate_no_more_trials_are_started(shared_project: Any) -> None:
    since = shared_project.mark()
    command = ("-m", "sweep.name=rate", "sweep.max_failure_rate=0.2", "optimizer.lr=3e-3,4e-3,5e-3")
    (line,) = errors(shared_project.sweep(*command, "optimizer.weight_decay=0.1", **FAILS))
    assert re.match(r"error: rate: 1 of 3 trials failed, .*step 7.*sweep.retry_failed=true", line)
    assert shared_project.statuses("rate") == ["failed", "waiting", "waiting"]
    assert len(shared_project.events("begin", since)) == 1


# ---- bad input


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["optimizer.lrr=1e-3"], r"optimizer\.lrr.*unknown key.*lr"),
        (["optimizer.lr"], r"'optimizer\.lr'.*write key=value"),
        (["-m", "optimizer.lr=1e-3,fast", "seed=1,2"], r"optimizer\.lr=fast seed=1: .*'fast' is not a number"),
        (["-m", "optimizer=adamw,sgdd"], r"optimizer=sgdd: .*sgd"),
        (["-m", "hydra/launcher=jobli", "seed=1,2"], r"hydra/launcher.*'jobli'.*joblib"),
        (["-m", "hydra/sweeper=optna", "seed=1,2"], r"hydra/sweeper.*'optna'.*optuna"),
        (["-m", "optimizer.lr=interval(1e-4,1e-2)"], r"optimizer\.lr.*interval.*hydra/sweeper=optuna"),
        (["sweep.name=../elsewhere"], r"sweep\.name.*letters"),
        (["sweep.max_failure_rate=2"], r"sweep\.max_failure_rate.*from 0 to 1"),
    ],
)
def test_wrong_input_ends_in_one_line_before_anything_runs(
    shared_project: Any, arguments: list[str], line: str
) -> None:
    since, before = shared_project.mark(), sorted((shared_project.root / "multirun").glob("*"))
    assert re.match(rf"error: .*{line}", errors(shared_project.sweep(*arguments))[0])
    assert shared_project.executed(since) == {}
    assert sorted((shared_project.root / "multirun").glob("*")) == before


@pytest.mark.slow
def test_metric_that_no_report_has_is_named_with_the_nearest_and_the_right_one_needs_no_new_run(
    shared_project: Any,
) -> None:
    (line,) = errors(shared_project.sweep("sweep.name=metric", "sweep.metric=val/mapp"))
    assert re.match(r"error: metric: sweep\.metric: no report has .*'val/mapp'; did you mean val/map", line)
    since = shared_project.mark()
    shared_project.finish("sweep.name=metric", "sweep.metric=val/map")
    assert shared_project.statuses("metric") == ["done"]
    assert shared_project.executed(since)["train"] == 0


def test_folder_that_is_no_git_repository_ends_in_one_line(new_project: Any) -> None:
    project = new_project()
    shutil.rmtree(project.root / ".git")
    assert "run git init, then commit" in errors(project.sweep("sweep.name=none"))[0]


def test_read_only_cache_ends_in_one_line(new_project: Any) -> None:
    project = new_project()
    project.run("dvc", "cache", "dir", "--local", "/proc/sys/cache")
    assert re.match(r"error: /proc/sys/cache: cannot be written", errors(project.sweep("sweep.name=none"))[0])


@pytest.mark.slow
def test_full_disk_ends_in_one_line_and_the_same_command_goes_on_when_there_is_room(
    new_project: Any, tmp_path: Path
) -> None:
    project, cache = new_project(), tmp_path / "cache"
    cache.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(cache)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        project.run("dvc", "cache", "dir", "--local", str(cache))
        (cache / "filler").write_bytes(bytes(2**20 - 3 * 4096))
        (line,) = errors(project.sweep("sweep.name=full"))
        assert "No space left on device" in line
        (cache / "filler").unlink()
        project.finish("sweep.name=full", "sweep.retry_failed=true")
        assert project.statuses("full") == ["done"]
        workspace = project.root / "multirun" / "full" / "0"
        assert (workspace / "weights" / "model.pt").read_text().startswith("[")
    finally:
        subprocess.run(["umount", "--lazy", str(cache)], check=True)


# ---- what Hydra itself answers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--help"], "--dry-run"), (["--cfg", "job"], "optimizer:"), (["--cfg", "job", "optimizer.lr=0.25"], "lr: 0.25")],
)
def test_hydra_s_own_questions_are_answered_however_many_sweeps_there_are(
    shared_project: Any, arguments: list[str], said: str
) -> None:
    started = time.monotonic()
    assert said in shared_project.finish(*arguments)
    assert time.monotonic() - started < 10
