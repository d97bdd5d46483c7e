"""The command line, as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

from reprolens.models.registry import get, names

ROOT = Path(__file__).parents[1]


def reprolens(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reprolens", *arguments]
    environment = {**os.environ, "COLUMNS": "120"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)


def test_help_answers_in_under_a_second_of_processor_time() -> None:
    before = os.times()
    done = reprolens("--help")
    after = os.times()
    assert done.returncode == 0 and "compose" in done.stdout
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1


def test_compose_prints_what_the_stage_would_write(repository: Path) -> None:
    printed = reprolens("compose", "seed=7", cwd=repository)
    assert printed.returncode == 0 and "seed: 7\n" in printed.stdout
    (repository / "params.yaml").write_text(printed.stdout)
    assert reprolens("compose", cwd=repository).stdout == printed.stdout


def test_wrong_choice_ends_in_one_line_and_status_2() -> None:
    done = reprolens("compose", "model=fcos_mobilenet_v3")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "did you mean fcos_mobilenet_v2" in done.stderr
    assert "Traceback" in reprolens("--debug", "compose", "model=fcos_mobilenet_v3").stderr


def test_every_model_is_listed() -> None:
    done = reprolens("models")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    for name in names():
        entry = get(name)
        assert all(word in rows[name] for word in (entry.task, entry.paper, entry.licence)), rows[name]
    assert "0.91 M" in rows["yolox_nano"]
