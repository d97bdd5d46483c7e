"""What tracking costs: `python tests/benchmarks/track.py [run] [live]`.

`run`: the track stage, whole process, for a run of 100 epochs, 16 pictures and a model of 20 MB, against `import wandb`
alone; offline, and online against the stub of the server in tests/tracking/server. `live`: the train stage of the
default experiment, online against offline, in turns.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import yaml
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from tracking.repository import build_repository  # noqa: E402
from tracking.server import Server  # noqa: E402

ASKED_RUN = 3.0
ASKED_LIVE = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["run", "live"], help="run, live (both)")
    parser.add_argument("--times", type=int, default=5, help="how often each track stage is run (5)")
    parser.add_argument("--pairs", type=int, default=3, help="how often training is run offline and online (3)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Server() as server:
        environment = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": "0" * 40, "WANDB_CONFIG_DIR": f"{folder}/config"}
        if "run" in options.what:
            measure_run(Path(folder) / "run", environment, options.times)
        if "live" in options.what:
            measure_live(Path(folder) / "live", environment, options.pairs)


def measure_run(root: Path, environment: Mapping[str, str], times: int) -> None:
    """Print the seconds of the track stage beside those of `import wandb`."""
    copy_sources(root)
    build_repository(root, epochs=100, samples=16, model_size=20_000_000)
    commands = {
        "import wandb": ["-c", "import wandb"],
        "offline": ["-m", "pipelines.track"],
        "online": ["-m", "pipelines.track"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(times + 1):  # the first is a warm-up
        for name, command in commands.items():
            if name != "import wandb":
                set_mode(root, name, f"project-{number}")  # so that the server has nothing of it yet
                shutil.rmtree(root / "wandb", ignore_errors=True)
            seconds[name].append(run(root, command, environment))
    table = Table(title=f"track: 100 epochs, 16 pictures, 20 MB; medians of {times}", box=None)
    for column in ("", "seconds", "beyond import wandb", "asked"):
        table.add_column(column, justify="right" if column else "left")
    alone = median(seconds["import wandb"][1:])
    for name, values in seconds.items():
        beyond = "" if name == "import wandb" else f"{median(values[1:]) - alone:.2f}"
        table.add_row(name, f"{median(values[1:]):.2f}", beyond, f"{ASKED_RUN:.2f}" if name == "offline" else "")
    Console().print(table)


def measure_live(root: Path, environment: Mapping[str, str], pairs: int) -> None:
    """Print the seconds of training online and offline, and their ratio."""
    copy_sources(root)
    run(root, ["-m", "dvc", "init", "--no-scm", "-f", "-q"], environment)
    run(root, ["-m", "dvc", "repro", "pretrain"], environment)
    ratios, seconds = [], {"offline": list[float](), "online": list[float]()}
    for pair in range(pairs):
        for mode in ("offline", "online") if pair % 2 == 0 else ("online", "offline"):
            set_mode(root, mode)
            shutil.rmtree(root / ".checkpoints", ignore_errors=True)
            seconds[mode].append(run(root, ["-m", "pipelines.train"], environment))
        ratios.append(seconds["online"][-1] / seconds["offline"][-1])
    table = Table(title=f"train, live against not; {pairs} pairs", box=None)
    for column in ("offline s", "online s", "ratio", "asked"):
        table.add_column(column, justify="right")
    for offline, online, ratio in zip(seconds["offline"], seconds["online"], ratios, strict=True):
        table.add_row(f"{offline:.1f}", f"{online:.1f}", f"{ratio:.3f}", "")
    medians = (f"{median(seconds[mode]):.1f}" for mode in ("offline", "online"))
    table.add_row(*medians, f"{median(ratios):.3f}", f"{1 + ASKED_LIVE:.3f}")
    Console().print(table)


def copy_sources(root: Path) -> None:
    """Copy what the stages need of this repository."""
    for name in ("conf", "pipelines", "src", "data/digits", "params.yaml", "dvc.yaml"):
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def set_mode(root: Path, mode: str, project: str = "benchmark") -> None:
    path = root / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["tracking"] |= {"mode": mode, "project": project}
    path.write_text(yaml.safe_dump(config))


def run(root: Path, command: list[str], environment: Mapping[str, str]) -> float:
    """Run Python in the repository and return the wall seconds."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = os.environ | environment | {"PYTHONPATH": str(root / "src"), "PATH": path}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=root, env=own, capture_output=True, text=True)
    if done.returncode or "tracking: " in done.stderr:  # the server took not all of it
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
