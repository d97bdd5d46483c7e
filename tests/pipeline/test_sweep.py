"""A sweep of the real pipeline: killed in the middle of a training, gone on with, each trial an experiment and a run.

What holds for sweeps whatever their stages do is tested on a cheap pipeline, in tests/sweeps.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TINY = [
    "data.image_size=96",
    "data.train=16",
    "data.val=4",
    "data.test=4",
    "data.max_size=40",
    "model.image_size=[96,96]",
    "trainer.checkpoint_steps=1",
    "trainer.max_epochs=4",
    "trainer.batch_size=4",
    "evaluate.bootstrap=0",
]
COMMAND = ["python", "-m", "pipelines.sweep", "-m", "sweep.name=test", "optimizer.lr=1e-3,2e-3", *TINY]


def executed(trial: Path) -> list[str]:
    return re.findall(r"^Running stage '(\w+)'", (trial / "dvc.log").read_text(), flags=re.MULTILINE)


def start(root: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "src",
    }
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, *COMMAND[1:]], cwd=root, env=environment, stdout=quiet, stderr=quiet)


def epochs(trial: Path) -> int:
    try:
        with (trial / "reports" / "history.csv").open(encoding="utf-8") as file:
            return len(list(csv.DictReader(file)))
    except FileNotFoundError:
        return 0


@pytest.fixture(scope="module")
def trials(untouched: Any) -> list[Path]:
    """Return the trials of a sweep whose driver was killed in the second epoch of the first, and started again."""
    folder = untouched.root / "multirun" / "test"
    driver = start(untouched.root)
    limit = time.monotonic() + 300
    while epochs(folder / "0") < 1 and driver.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert epochs(folder / "0") < 4, "the training was over before the kill"
    done = untouched.run(*COMMAND)
    assert done.returncode == 0, done.stdout + done.stderr
    return [folder / "0", folder / "1"]


def test_killed_training_is_gone_on_with_and_what_was_done_is_not_done_again(trials: list[Path]) -> None:
    assert executed(trials[0]).count("train") == 2
    assert executed(trials[0]).count("pretrain") == 1
    assert executed(trials[1]) == ["compose", "train", "evaluate", "export", "track"]
    assert [epochs(trial) for trial in trials] == [4, 4]


def test_killed_trial_ends_in_the_bits_of_one_that_was_not(untouched: Any, trials: list[Path]) -> None:
    result = (trials[0] / "weights" / "model.pt").read_bytes()
    (untouched.root / "again").mkdir()
    (untouched.root / "again" / "config.yaml").write_bytes((trials[0] / "config.yaml").read_bytes())
    for name in ("data", "weights", "pipelines", "src"):
        untouched.run("cp", "-rL", str(trials[0] / name), "again")
    (untouched.root / "again" / "reports").mkdir()
    environment = os.environ | {"PYTHONPATH": "src"}
    again = untouched.root / "again"
    subprocess.run([sys.executable, "-m", "pipelines.train"], cwd=again, env=environment, check=True)
    assert (again / "weights" / "model.pt").read_bytes() == result


def test_each_trial_has_a_run_of_its_own_in_the_group_of_the_sweep(untouched: Any, trials: list[Path]) -> None:
    runs = [json.loads((trial / "reports" / "run.json").read_text()) for trial in trials]
    assert len({run["folder"] for run in runs}) == 2
    for run in runs:
        log = untouched.root / run["folder"] / f"run-{run['id']}.wandb"
        assert b"test" in log.read_bytes()


def test_experiment_applied_is_up_to_date(untouched: Any, trials: list[Path]) -> None:
    before = untouched.run("git", "stash", "-u")
    assert before.returncode == 0, before.stderr
    name = json.loads((trials[1] / "trial.json").read_text())["experiment"]
    applied = untouched.run("dvc", "exp", "apply", name)
    assert applied.returncode == 0, applied.stderr
    assert "Data and pipelines are up to date." in untouched.run("dvc", "repro").stdout
