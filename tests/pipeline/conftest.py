"""A whole reproduction on a tiny configuration, run once and shared by the tests of this folder."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TINY = """\
seed: 1
data: {path: data/digits, image_size: 96, train: 24, val: 8, test: 10, max_digits: 4, max_size: 40}
model: {image_size: [96, 96]}
trainer: {max_epochs: 2, batch_size: 8}
evaluate: {samples: 4}
export: {gate: {images: 4, timed_runs: 4}}
"""


@dataclass(frozen=True)
class Reproduction:
    """A repository in a temporary folder in which DVC is run for real."""

    root: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command there with this interpreter's programs first on the path."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": "src", "COLUMNS": "300", "TERM": "dumb"}
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, env=environment)

    def executed(self, *arguments: str) -> list[str]:
        """Run `dvc repro` and return the stages that it executed, in their order."""
        done = self.run("dvc", "repro", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"^Running stage '(\w+)'", done.stdout, flags=re.MULTILINE)

    def set_overrides(self, text: str) -> None:
        """Put `text` in the place of params.yaml's overrides."""
        params = self.root / "params.yaml"
        head = params.read_text().partition("\nseed:")[0]
        params.write_text(f"{head}\n{text}")

    def choose(self, group: str, choice: str) -> None:
        """Change a group's choice in params.yaml."""
        params = self.root / "params.yaml"
        text, count = re.subn(rf"^( *- {group}:) \w+", rf"\1 {choice}", params.read_text(), flags=re.MULTILINE)
        assert count == 1
        params.write_text(text)


@pytest.fixture(scope="session")
def reproduction(fresh_clone: Path) -> Reproduction:
    """Return the fresh clone after its first `dvc repro`, which executed every stage."""
    made = Reproduction(fresh_clone)
    made.set_overrides(TINY)
    assert made.executed() == ["compose", "convert", "pretrain", "train", "evaluate", "export", "track"]
    return made


@pytest.fixture(scope="session")
def untouched(fresh_clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    """Return the repository as it was committed, in which nothing was run or edited yet."""
    root = tmp_path_factory.mktemp("untouched") / "repository"
    subprocess.run(["git", "clone", "-q", str(fresh_clone), str(root)], check=True)
    for key, value in (("user.name", "test"), ("user.email", "test@localhost")):
        subprocess.run(["git", "config", key, value], cwd=root, check=True)
    return Reproduction(root)
