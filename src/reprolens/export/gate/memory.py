"""How much memory a file takes: a process of its own loads it, runs it, and says its peak.

    python -m reprolens.export.gate.memory FILE HEIGHT WIDTH THREADS

A runtime that a file makes crash crashes that process, not the stage, so the gate begins with this.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import reprolens
from reprolens.errors import ExportError, ReprolensError

_RUNS = 3
_SECONDS = 600


def peak_memory(path: Path, size: tuple[int, int], threads: int) -> float:
    """Return the peak memory, in MiB, of a process that loads an exported file or a weights file and runs it a few
    times on a picture of `size` (height, width): all of it, the interpreter and the runtime too.

    Raises ExportError in one line if it cannot.
    """
    command = [sys.executable, "-m", __name__, str(path), *map(str, size), str(threads)]
    package = Path(reprolens.__file__).parents[1]  # Reprolens need not be installed
    inherited = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *inherited])}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise ExportError(f"{path}: has not run {_RUNS} times after {_SECONDS} seconds") from None
    if done.returncode < 0:
        raise ExportError(f"{path}: crashes what runs it ({signal.Signals(-done.returncode).name})")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"{path}: ends with status {done.returncode}"]
        raise ExportError(lines[-1])
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Load and run the file, then print the peak."""
    path, height, width, threads = Path(sys.argv[1]), *map(int, sys.argv[2:])
    try:
        (_run_weights if path.suffix == ".pt" else _run_file)(path, height, width, threads)
    except ReprolensError as error:
        raise SystemExit(str(error)) from None
    print(_peak())


def _run_file(path: Path, height: int, width: int, threads: int) -> None:
    import numpy as np

    from reprolens.inference.load import load_model

    model = load_model(path, threads, device="cpu")  # as the gate runs it
    for _ in range(_RUNS):
        model(np.zeros((1, height, width, 3), np.uint8))


def _run_weights(path: Path, height: int, width: int, threads: int) -> None:
    import torch

    from reprolens.models import load_trained
    from reprolens.models.mask_rcnn import without_masks

    torch.set_num_threads(threads)
    module = load_trained(path).module
    with torch.inference_mode(), without_masks(module):
        for _ in range(_RUNS):
            module([torch.zeros(3, height, width)])


def _peak() -> float:
    """Return this process's peak of memory in MiB.

    Linux's `ru_maxrss` begins with that of the process that started this one (execve takes it over), which has torch.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(
            line for line in status.read_text(encoding="ascii", errors="replace").splitlines() if "VmHWM" in line
        )
        return int(line.split()[1]) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024


if __name__ == "__main__":
    main()
