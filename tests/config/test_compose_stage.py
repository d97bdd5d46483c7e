"""Laws of the compose stage as a person or DVC runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reprolens.config.compose import compose, to_yaml


def _stage(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "DVC_ROOT"} | {"PYTHONPATH": "src"}
    command = [sys.executable, "-m", "pipelines.compose", *arguments]
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)


def test_the_stage_writes_what_compose_gives_and_says_one_line(repository: Path) -> None:
    done = _stage(repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert (repository / "config.yaml").read_text() == to_yaml(compose(repository))


@pytest.mark.parametrize("appended", ["optimizer:\n  lrr: 1\n", "foo: [1\n", "optimizer:\n  lr: -1\n"])
def test_an_error_is_one_line_and_status_2_and_leaves_config_yaml_alone(appended: str, repository: Path) -> None:
    (repository / "config.yaml").write_text("earlier result\n")
    with (repository / "params.yaml").open("a") as file:
        file.write(appended)
    done = _stage(repository)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: params.yaml:")
    assert done.stderr.count("\n") == 1
    assert (repository / "config.yaml").read_text() == "earlier result\n"
    assert not list(repository.glob(".config*"))


def test_debug_shows_where_an_error_was_raised(repository: Path) -> None:
    with (repository / "params.yaml").open("a") as file:
        file.write("optimizer:\n  lrr: 1\n")
    done = _stage(repository, "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr
    assert "ConfigError: params.yaml:" in done.stderr


def test_an_unknown_argument_is_refused_in_one_line(repository: Path) -> None:
    done = _stage(repository, "optimizer.lr=1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "optimizer.lr=1" in done.stderr
