"""A sweep for real: every trial a reproduction, what trials share computed once."""

import re
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
]


def executed(trial: Path) -> list[str]:
    return re.findall(r"^Running stage '(\w+)'", (trial / "dvc.log").read_text(), flags=re.MULTILINE)


def test_trials_share_stages_and_each_has_its_own_run(reproduction: Any) -> None:
    root = reproduction.root
    command = ["python", "-m", "pipelines.sweep", "-m", "optimizer.lr=1e-3,2e-3", "trainer.max_epochs=1", *TINY]
    done = reproduction.run(*command, "hydra.sweep.dir=multirun/test")
    assert done.returncode == 0, done.stdout + done.stderr
    trials = [root / "multirun" / "test" / number for number in ("0", "1")]
    assert executed(trials[0]) == ["compose", "convert", "pretrain", "train", "evaluate", "export", "track"]
    assert executed(trials[1]) == ["compose", "train", "evaluate", "export", "track"]
    values = re.findall(r"multirun/test/\d: voc12/map50 (\S+)", done.stdout)
    assert len(values) == 2
    folders = {re.search(r'"folder": "(.*)"', (trial / "reports" / "run.json").read_text())[1] for trial in trials}
    assert len(folders) == 2
    assert all((root / folder).is_dir() for folder in folders)


def test_wrong_override_ends_in_one_line(reproduction: Any) -> None:
    done = reproduction.run("python", "-m", "pipelines.sweep", "optimizer.lr=fast", "hydra.run.dir=multirun/wrong")
    assert done.returncode == 2
    assert done.stderr == "error: optimizer.lr: 'fast' is not a number\n"
