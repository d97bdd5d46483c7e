"""A repository with the real code, Git, DVC and Hydra, but stages that take no time: what a sweep is tested on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]

STAGE = r'''"""A stage that takes no time. Its results follow from config.yaml; what it did stands in $CHEAP_LOG.

$CHEAP_SECONDS: how long an epoch takes. $CHEAP_FAILING_LR: the learning rate with which training fails.
"""

import base64, fcntl, json, os, signal, sys, time
from math import log10
from pathlib import Path

import yaml

from reprolens.parent import die_with_parent

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
COLUMNS = "epoch,global_step,lr,train/loss,val/map50,val/map,images_per_second,seconds"


def note(event, **more):
    line = {"event": event, "stage": sys.argv[1], "pid": os.getpid(), "folder": os.getcwd(), **more}
    with open(os.environ["CHEAP_LOG"], "a") as file:
        file.write(json.dumps(line) + "\n")


def write(name, content):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(content if isinstance(content, str) else json.dumps(content))
    part.replace(path)


def quality(config):
    return 0.9 / (1 + abs(log10(config["optimizer"]["lr"] / 1e-3)))


def convert(config):
    write("data/voc/data.json", {"data": config["data"], "seed": config["seed"]})
    classes = [{"name": name, "train": 9, "val": 2, "test": 3} for name in "ab"]
    write("reports/dataset.json", {"images": 14, "boxes": 28, "problems": 0, "classes": classes})


def pretrain(config):
    write("weights/initial.pt", json.dumps([config["model"], config["pretrain"]]))
    write("reports/pretrain.json", {"source": "random", "tensors": 2})


def train(config):
    epochs, lr = config["trainer"]["max_epochs"], config["optimizer"]["lr"]
    place = Path(".checkpoints").resolve()
    own = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(own, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note("collision", checkpoints=str(place))
    checkpoint, stopped = place / "state", []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    note("begin", done=done, lr=lr, checkpoints=str(place))
    if str(lr) == os.environ.get("CHEAP_FAILING_LR"):
        print("step 6: loss 12.5\nerror: loss is not finite at step 7; lower optimizer.lr", file=sys.stderr)
        sys.exit(2)
    for epoch in range(done + 1, epochs + 1):
        until = time.time() + float(os.environ.get("CHEAP_SECONDS", 0))
        while time.time() < until and not stopped:
            time.sleep(0.01)
        if stopped:
            note("saved", done=epoch - 1)
            print("error: stopped by SIGTERM; the same command goes on with it", file=sys.stderr)
            sys.exit(2)
        share = [quality(config) * number / epochs for number in range(1, epoch + 1)]
        rows = [f"{i},{i * 10},{lr},{1 / i},{x},{x / 2},100,0.1" for i, x in enumerate(share, start=1)]
        write("reports/history.csv", "\n".join([COLUMNS, *rows, ""]))
        write(checkpoint, str(epoch))
        note("epoch", done=epoch, checkpoints=str(place))
    Path("reports/sheets").mkdir(exist_ok=True)
    Path("reports/sheets/data.jpg").write_bytes(base64.b64decode(PNG))
    write("weights/model.pt", json.dumps([config[name] for name in ("model", "optimizer", "trainer", "seed")]))
    value = quality(config) / 2 + config["seed"] / 1000
    write("reports/train.json", {"epochs": epochs, "seconds": 1, "kept/epoch": epochs, "val/map": value})
    checkpoint.unlink()


def evaluate(config):
    value = quality(config := {**config, "optimizer": json.loads(Path("weights/model.pt").read_text())[1]})
    value += config["seed"] / 1000 - config["evaluate"]["score_threshold"] / 10
    interval = {"voc12/map50/low": value - 0.05, "voc12/map50/high": value + 0.05}
    split = config["evaluate"]["split"]
    report = {"split": split, "images": 3, "boxes": 6, "voc12/map50": value, "coco/ap": value / 2, **interval}
    write("reports/evaluation.json", report)
    write("reports/predictions.json", [])
    write("reports/ground_truth.json", {})
    write("reports/label_errors.csv", "image,kind,class,suggested,x0,y0,x1,y1,suspicion\n")
    write("reports/samples/samples.json", [])
    write("reports/plots/pr.csv", "class,recall,precision\na,0.5,0.9\nb,0.5,0.8\n")
    write("reports/plots/per_class.csv", "class,boxes,ap50_voc12\na,3,0.9\nb,3,0.8\n")
    write("reports/plots/confusion.csv", "truth,prediction,count\na,a,3\n")
    write("reports/plots/errors.csv", "error,count,cost\ncls,1,0.01\n")
    for name in ("pr", "confusion", "errors"):
        Path(f"reports/plots/{name}.png").write_bytes(base64.b64decode(PNG))


def export(config):
    write("export/model.onnx", "onnx" + Path("weights/model.pt").read_text())
    write("export/labels.txt", "a\nb")
    write("export/README.md", "# Model card\n")
    passed = {"onnx/passed": True, "onnx/file": "model.onnx", "onnx/size_mb": 0.1, "opset": config["export"]["opset"]}
    write("reports/export.json", {"published": ["onnx"], "rejected": {}, **passed})


def track(config):
    write("reports/run.json", {"mode": "disabled"})
    write("reports/index.html", "<!doctype html>")


if "DVC_ROOT" in os.environ:
    die_with_parent()
note("run")
globals()[sys.argv[1]](yaml.safe_load(Path("config.yaml").read_text()))
'''

PARAMS = """
seed: 1
data:
  path: data/digits
trainer: {max_epochs: 2}
optimizer: {lr: 1e-3}
"""


@dataclass(frozen=True)
class Project:
    """A repository in which sweeps are run as a user does, and the log of what its stages did."""

    root: Path

    @property
    def log(self) -> Path:
        """Where the stages write what they do: outside of the repository."""
        return self.root.with_suffix(".log")

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a command here: this interpreter's programs, a wide screen, no W&B account."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "CHEAP_"))}
        own = {"PATH": path, "PYTHONPATH": "src", "COLUMNS": "300", "TERM": "dumb", "CHEAP_LOG": str(self.log)}
        return kept | own | more

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository to its end."""
        return subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, env=self.environment(**environment), timeout=120
        )

    def sweep(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m pipelines.sweep` to its end."""
        return self.run("python", "-m", "pipelines.sweep", *arguments, **environment)

    def finish(self, *arguments: str, **environment: str) -> str:
        """Run a sweep that ends well, and return what it printed."""
        done = self.sweep(*arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        return done.stdout

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """Start a sweep in a process group of its own, as a terminal does."""
        command = [sys.executable, "-m", "pipelines.sweep", *arguments]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.root, env=self.environment(**environment), process_group=0, **pipes)

    def git(self, *arguments: str) -> str:
        """Run Git and return what it prints."""
        done = self.run("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def mark(self) -> int:
        """Return how long the log is; what is asked `since` this mark came later."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def events(self, event: str, since: int = 0) -> list[dict[str, Any]]:
        """Return what the stages noted under a name, in order."""
        lines = self.log.read_text().splitlines()[since:] if self.log.exists() else []
        return [line for line in map(json.loads, lines) if line["event"] == event]

    def executed(self, since: int = 0) -> Counter[str]:
        """Return how often each stage was executed."""
        return Counter(line["stage"] for line in self.events("run", since))

    def trials(self, sweep: str) -> dict[int, dict[str, Any]]:
        """Return the records of a sweep's trials by number."""
        paths = (self.root / "multirun" / sweep).glob("*/trial.json")
        records = [json.loads(path.read_text()) for path in paths]
        return {record["number"]: record for record in sorted(records, key=lambda record: record["number"])}

    def statuses(self, sweep: str) -> list[str]:
        """Return how each trial of a sweep stands, by number."""
        return [record["status"] for record in self.trials(sweep).values()]

    def processes(self) -> dict[int, str]:
        """Return the living processes that run in the repository or a workspace of it: their ids and commands."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                own = f"{process.cwd()}/".startswith(f"{self.root}/")
                if own and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = " ".join(process.cmdline())
        return found

    def wait_until(self, condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
        """Wait until `condition` holds and return its value."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"{what}: not within {seconds} s; {self.processes()}"
            time.sleep(0.05)
        return value

    def kill_all(self) -> None:
        """End what a test that went wrong left running here."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def make_project(target: Path, real: Sequence[str] = ("compose",)) -> Project:
    """Make a committed copy of the repository at `target` in which all stages but the `real` ones are cheap."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"not a Git checkout: {done.stderr.strip()}")
    left_out = ("tests/", "docs/", "dvc.lock", "config.yaml")
    for name in done.stdout.split("\0"):
        if name and not name.startswith(left_out) and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / "stage.py").write_text(STAGE)
    pipeline, params = target / "dvc.yaml", target / "params.yaml"
    cheap = rf"cmd: python -m pipelines\.(?!(?:{'|'.join(real)})\b)(\w+)"
    text, count = re.subn(cheap, r"cmd: python stage.py \1", pipeline.read_text())
    assert count == 7 - len(real)
    pipeline.write_text(text)
    text, count = re.subn(r"- tracking: \w+", "- tracking: disabled", params.read_text().partition("\nseed:")[0])
    assert count == 1
    params.write_text(text + PARAMS)
    project = Project(target)
    project.git("init", "-q")
    project.git("config", "user.name", "test")
    project.git("config", "user.email", "test@localhost")
    project.git("add", "-A")
    project.git("commit", "-qm", "start")
    return project


@pytest.fixture(scope="session")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Return a repository that tests share that do not edit it; each varies other keys, so none is in the way."""
    project = make_project(tmp_path_factory.mktemp("sweeps") / "repository")
    yield project
    project.kill_all()


@pytest.fixture
def new_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Return what makes a repository of a test's own: (real stages) -> Project."""
    made = []

    def make(*real: str) -> Project:
        made.append(make_project(tmp_path / f"repository{len(made)}", ("compose", *real)))
        return made[-1]

    yield make
    for project in made:
        project.kill_all()
