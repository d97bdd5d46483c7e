"""What a sweep costs beyond its stages' own work: `python tests/benchmarks/sweep.py [overhead] [packing]`.

Every figure comes from real sweeps of this repository, copied to a temporary folder, on made-up Pascal VOC data. The
own work of a stage is the time of the command that DVC runs for it; all the rest of a trial is overhead.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from rich.console import Console
from rich.table import Table

from reprolens.sweeps.record import Trial, read_trials
from reprolens.voc import Object, Record, write_folder

ROOT = Path(__file__).parents[2]
SIZE = 96
TIMED = """
import json, os, subprocess, sys, time
started = time.time()
status = subprocess.run([sys.executable, "-m", f"pipelines.{sys.argv[1]}"]).returncode
with open(os.environ["STAGE_TIMES"], "a") as file:
    file.write(json.dumps([sys.argv[1], os.getcwd(), time.time() - started]) + "\\n")
sys.exit(status)
"""
SETTINGS = (
    "data=voc",
    f"model.image_size=[{SIZE},{SIZE}]",
    "trainer.max_steps=2",
    "trainer.batch_size=8",
    "evaluate.samples=2",
    "evaluate.bootstrap=0",
    "export.gate.images=2",
    "export.gate.timed_runs=2",
)


@dataclass(frozen=True)
class Repository:
    """A committed copy of this repository whose stages note how long their commands take."""

    root: Path

    def sweep(self, *arguments: str) -> tuple[float, list[Trial], Path]:
        """Run a sweep; return its wall seconds, its trials and its folder."""
        started = time.perf_counter()
        environment = os.environ | {"STAGE_TIMES": str(self.root / "times.jsonl")}
        command = [sys.executable, "-m", "pipelines.sweep", "-m", "sweep.name=bench", *SETTINGS, *arguments]
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        folder = self.root / "multirun" / "bench"
        return seconds, read_trials(folder), folder

    def own_work(self) -> list[tuple[str, str, float]]:
        """Return stage, workspace and seconds of every command so far."""
        path = self.root / "times.jsonl"
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []

    def forget(self) -> None:
        """Forget the commands so far."""
        (self.root / "times.jsonl").unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", choices=["overhead", "packing"], default=["overhead", "packing"])
    parser.add_argument("--files", type=int, nargs="+", default=[1_000, 10_000], help="sizes of the data sets")
    options = parser.parse_args()
    console = Console(width=110)
    with tempfile.TemporaryDirectory(prefix="reprolens-bench-") as folder:
        if "overhead" in options.what:
            console.print(overhead(Path(folder), options.files))
        if "packing" in options.what:
            console.print(packing(Path(folder)))


def overhead(folder: Path, sizes: Sequence[int]) -> Table:
    """Return, for data sets of so many files, what a trial costs beyond its stages' commands."""
    table = Table(title="A trial, one at a time", title_justify="left")
    for name in ("files", "own work (s)", "overhead (s)", "again (s)", "new place, all cached (s)", "disk (MB)"):
        table.add_column(name, justify="right")
    for files in sizes:
        data = made_up(folder / f"data-{files}", files // 2)
        repository = copied(folder / f"repository-{files}")
        lines = (f"data.path={data}", "tracking=disabled")
        repository.sweep(*lines, "optimizer.lr=1e-3")
        repository.forget()
        _, trials, place = repository.sweep(*lines, "optimizer.lr=1e-3,2e-3,3e-3")
        new = trials[1:]
        own = [
            sum(seconds for _, cwd, seconds in repository.own_work() if cwd == str(place / str(each.number)))
            for each in new
        ]
        over = [(each.seconds or 0) - seconds for each, seconds in zip(new, own, strict=True)]
        repository.forget()
        nothing, _, _ = repository.sweep(*lines, "--dry-run", "optimizer.lr=1e-3,2e-3,3e-3")
        again, _, _ = repository.sweep(*lines, "optimizer.lr=1e-3,2e-3,3e-3")
        assert not repository.own_work(), "a finished sweep ran something"
        disk = max(size_beyond_results(place / str(each.number)) for each in new)
        subprocess.run(["rm", "-rf", str(place)], check=True)
        _, fresh, _ = repository.sweep(*lines, "optimizer.lr=1e-3,2e-3,3e-3")
        table.add_row(
            f"{files:,}",
            f"{np.median(own):.1f}",
            f"{np.median(over):.1f}",
            f"{(again - nothing) / len(trials):.1f}",
            f"{np.median([each.seconds for each in fresh]):.1f}",
            f"{disk / 1e6:.2f}",
        )
    return table


def packing(folder: Path) -> Table:
    """Return how long 8 cold trials over 2 data configurations take 2 workers, against an ideal packing."""
    data = [made_up(folder / f"packed-{number}", 200 + 2 * number) for number in range(2)]
    repository = copied(folder / "packed")
    arguments = (
        f"data.path={data[0]},{data[1]}",
        "optimizer.lr=1e-3,2e-3,3e-3,4e-3",
        "trainer.max_steps=60",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
    )
    wall, trials, _ = repository.sweep(*arguments)
    work = repository.own_work()
    ideal = ideal_packing(work, 2)
    counts = Counter(stage for stage, _, _ in work)
    repository.forget()
    again, _, _ = repository.sweep(*arguments)
    table = Table(title="8 trials over 2 data configurations, 2 workers, cold", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    rows = {
        "runs of convert, pretrain, train": f"{counts['convert']}, {counts['pretrain']}, {counts['train']}",
        "stages' own work (s)": f"{sum(seconds for _, _, seconds in work):.0f}",
        "ideal packing (s)": f"{ideal:.0f}",
        "the sweep (s)": f"{wall:.0f}",
        "of it, of ideal": f"{wall / ideal:.2f}",
        "again, finished: the sweep (s)": f"{again:.1f}",
        "of it, a trial (s)": f"{again / len(trials):.1f}",
        "again, commands run": str(len(repository.own_work())),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def ideal_packing(work: Sequence[tuple[str, str, float]], workers: int) -> float:
    """Return the seconds in which `workers` could run the trials' own work: evenly divided, but no trial in two."""
    trials = Counter[str]()
    for _, cwd, seconds in work:
        trials[cwd] += seconds
    loads = [0.0] * workers
    for seconds in sorted(trials.values(), reverse=True):
        loads[loads.index(min(loads))] += seconds
    return max(loads)


def size_beyond_results(workspace: Path) -> int:
    """Return the bytes of a workspace that are neither links into the cache nor the trial's own results."""
    lock = yaml.safe_load((workspace / "dvc.lock").read_text())["stages"]
    results = [workspace / output["path"] for stage in lock.values() for output in stage["outs"]]
    own = [path for path in workspace.rglob("*") if path.is_file() and not path.is_symlink()]
    kept = {path for path in own if any(path == result or result in path.parents for result in results)}
    return sum(path.stat().st_size for path in own if path.stat().st_nlink == 1 and path not in kept)


def made_up(root: Path, count: int) -> Path:
    """Write a VOC folder of `count` small pictures, each with one box."""
    generator = np.random.default_rng(count)
    records = []
    (root / "JPEGImages").mkdir(parents=True)
    for number in range(count):
        x, y = generator.integers(0, SIZE - 32, 2)
        pixels = generator.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
        pixels[y : y + 30, x : x + 30] = (255, 0, 0) if number % 2 else (0, 255, 0)
        name = f"{number:06d}"
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.jpg")
        box = (float(x), float(y), float(x + 30), float(y + 30))
        objects = (Object("red" if number % 2 else "green", box),)
        records.append(Record(name, f"{name}.jpg", SIZE, SIZE, 3, objects))
    write_folder(root, ("green", "red"), {"train": records[:-40], "val": records[-40:-20], "test": records[-20:]})
    return root


def copied(root: Path) -> Repository:
    """Copy this repository to `root`, commit it, and let its stages be timed."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes((ROOT / name).read_bytes())
    (root / "timed.py").write_text(TIMED)
    stages = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(stages.replace("cmd: python -m pipelines.", "cmd: python timed.py "))
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    return Repository(root)


if __name__ == "__main__":
    main()
