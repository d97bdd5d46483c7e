"""The presets of Hydra's launchers: complete, explained, and each runs the jobs of a sweep for real."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from reprolens.config.compose import search_path

ROOT = Path(__file__).parents[2]
PRESETS = ROOT / "conf" / "hydra" / "launcher"
PLUGINS = {
    "joblib": ("hydra_joblib_launcher.config", "JobLibLauncherConf", "reprolens"),
    "submitit_local": ("hydra_submitit_launcher.config", "LocalQueueConf", "reprolens[slurm]"),
    "submitit_slurm": ("hydra_submitit_launcher.config", "SlurmQueueConf", "reprolens[slurm]"),
    "ray": ("hydra_ray_launcher._config", "RayLauncherConf", "reprolens[ray]"),
}
SAME_NAME = r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema"
"""How the warning begins that Hydra gives, in the driver and in every worker, about a preset with a plugin's name."""

LIBRARY = f'''
import json, os, subprocess, sys, time, warnings
from pathlib import Path

warnings.filterwarnings("ignore", message=r"{SAME_NAME}")

def run(node, own):
    """Note that a job ran here, then do as it says; run a program as trials do, and return a number."""
    folder = Path(own.runtime.output_dir)
    runs = len(list(folder.glob("run-*.json")))
    facts = {{"x": node.x, "pid": os.getpid(), "number": own.job.num, "threads": os.environ.get("OMP_NUM_THREADS"),
             "node": os.environ.get("RAY_NODE_ID"), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}}
    if "ray" in sys.modules:
        facts["node"] = sys.modules["ray"].get_runtime_context().get_node_id()
    part = folder / "part"
    part.write_text(json.dumps(facts))
    part.replace(folder / f"run-{{runs}}.json")
    if node.first == "dies" and runs == 0:
        os.kill(os.getpid(), 9)
    if node.first == "waits" and runs == 0:
        time.sleep(60)
    subprocess.run([sys.executable, "-c", f"import time; time.sleep({{node.seconds}})"], check=True)
    return float(node.x)
'''

APPLICATION = """
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from tiny.library import run

@hydra.main(version_base="1.3", config_path=str(Path(__file__).resolve().parents[1]), config_name="params")
def main(node):
    return run(node, HydraConfig.get())

if __name__ == "__main__":
    main()
"""

CLUSTER = """
import sys
from ray.cluster_utils import Cluster
small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
cluster = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
try:
    cluster.add_node(**small)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    sys.stdin.read()
finally:
    cluster.shutdown()
"""


def plugin(name: str) -> Any:
    """Return the structured configuration of a launcher's plugin; skip the test where the plugin is not installed."""
    module, configuration, package = PLUGINS[name]
    try:
        return getattr(importlib.import_module(f"hydra_plugins.{module}"), configuration)
    except ModuleNotFoundError:
        pytest.skip(f"hydra/launcher={name} is not installed: pip install '{package}'")


class Project:
    """A folder with a Hydra application that is run as `python -m tiny.application`, on this repository's presets."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "tiny").mkdir(parents=True)
        (root / "params.yaml").write_text("x: 0\nseconds: 0.1\nfirst: works\n")
        (root / "tiny" / "__init__.py").write_text("")
        (root / "tiny" / "library.py").write_text(LIBRARY)
        (root / "tiny" / "application.py").write_text(APPLICATION)

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a sweep; both of its outputs come as one."""
        command = [sys.executable, "-m", "tiny.application", "-m", search_path(ROOT)]
        return subprocess.Popen(
            [*command, f"hydra.sweep.dir={self.root / 'multirun'}", "hydra.sweep.subdir=${hydra.job.num}", *arguments],
            cwd=self.root,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sweep(self, *arguments: str, **variables: str) -> str:
        """Run a sweep to its end and return what it said."""
        process = self.start(*arguments, **variables)
        said = process.communicate(timeout=180)[0]
        assert process.returncode == 0, said
        return said

    def runs(self, number: int) -> list[dict[str, Any]]:
        """Return what was noted each time that a job ran."""
        paths = sorted((self.root / "multirun" / str(number)).glob("run-*.json"))
        return [json.loads(path.read_text()) for path in paths]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def ray_variables() -> Iterator[dict[str, str]]:
    """Yield the environment of a Ray that finds no other, leaves nothing behind and reports to nobody."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:  # sockets want short paths
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        # Under `uv run` Ray would copy the driver's whole folder to every worker.
        yield {**quiet, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_TMPDIR": folder, "HOME": folder}


@contextmanager
def cluster(variables: dict[str, str]) -> Iterator[str]:
    """Run a Ray cluster of two nodes with a core each, started elsewhere than the project; yield its address."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        cwd=variables["RAY_TMPDIR"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield next(line.strip() for line in process.stdout if re.fullmatch(r"[\w.]+:\d+", line.strip()))
        finally:
            process.communicate(timeout=60)


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until a condition holds; fail where it does not come about."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("name", PLUGINS)
def test_preset_has_just_the_keys_of_the_plugin(name: str) -> None:
    known = OmegaConf.structured(plugin(name))
    preset = OmegaConf.load(PRESETS / f"{name}.yaml")
    assert set(preset) == set(known)
    assert preset["_target_"] == known["_target_"]
    if name == "ray":
        assert set(preset.ray) == set(known.ray)


@pytest.mark.parametrize("name", PLUGINS)
def test_preset_composes_to_what_its_file_says(name: str) -> None:
    plugin(name)  # its own preset of the same name is the one that must give way
    preset = OmegaConf.load(PRESETS / f"{name}.yaml")
    with warnings.catch_warnings(), initialize_config_dir(version_base="1.3", config_dir=str(ROOT)):
        warnings.filterwarnings("ignore", message=SAME_NAME)
        node = compose("params", [search_path(ROOT), f"hydra/launcher={name}"], return_hydra_config=True)
    composed = OmegaConf.to_container(node.hydra.launcher, resolve=False)
    assert isinstance(composed, dict)
    said = OmegaConf.to_container(preset, resolve=False)
    assert isinstance(said, dict)
    assert {key: str(value) for key, value in composed.items()} == {key: str(value) for key, value in said.items()}


@pytest.mark.parametrize("path", sorted(PRESETS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_is_explained(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if re.match(r" *\w+:", line)]
    assert [line for line in lines if "#" not in line and not re.match(r"_target_:|(ray| *env_vars):$", line)] == []


def test_joblib_runs_jobs_side_by_side(project: Project) -> None:
    plugin("joblib")
    said = project.sweep("hydra/launcher=joblib", "x=1,2", "seconds=1")
    runs = [project.runs(number) for number in range(2)]
    assert [[run["x"] for run in attempts] for attempts in runs] == [[1], [2]]
    assert len({attempts[0]["pid"] for attempts in runs}) == 2
    assert "Warning" not in said


@pytest.mark.slow
def test_submitit_local_runs_each_job_as_a_process(project: Project) -> None:
    plugin("submitit_local")
    said = project.sweep("hydra/launcher=submitit_local", "x=1,2")
    runs = [project.runs(number) for number in range(2)]
    assert [[run["x"] for run in attempts] for attempts in runs] == [[1], [2]]
    assert len({attempts[0]["pid"] for attempts in runs}) == 2
    assert all(attempts[0]["gpus"].startswith("0,1") for attempts in runs)  # the plugin's own hides them
    assert "Warning" not in said


@pytest.mark.slow
def test_submitit_starts_a_preempted_job_again(project: Project) -> None:
    """SIGUSR2 is what submitit takes for a preemption, there and on Slurm."""
    plugin("submitit_local")
    process = project.start("hydra/launcher=submitit_local", "x=1", "first=waits")
    try:
        wait_for(lambda: project.runs(0))
        os.kill(project.runs(0)[0]["pid"], signal.SIGUSR2)
        said = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0, said
    first, second = project.runs(0)
    assert first["pid"] != second["pid"]
    assert first["x"] == second["x"] == 1


def test_submitit_slurm_without_slurm_says_so(project: Project) -> None:
    plugin("submitit_slurm")
    process = project.start("hydra/launcher=submitit_slurm", "x=1", PATH=str(project.root))
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert 'Could not detect "srun"' in said


@pytest.mark.slow
def test_ray_of_its_own_runs_jobs_and_is_gone(project: Project, ray_variables: dict[str, str]) -> None:
    plugin("ray")
    said = project.sweep("hydra/launcher=ray", "x=1,2", **ray_variables)
    assert [project.runs(number)[0]["x"] for number in range(2)] == [1, 2]
    assert "Warning" not in said
    folder = ray_variables["RAY_TMPDIR"]
    assert [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if _holds(path, folder)] == []


@pytest.mark.slow
def test_ray_cluster_runs_jobs_on_all_its_nodes(project: Project, ray_variables: dict[str, str]) -> None:
    """The nodes are started in another folder, so they learn from the preset where the code is."""
    plugin("ray")
    with cluster(ray_variables) as address:
        chosen = ["hydra/launcher=ray", f"hydra.launcher.ray.init.address='{address}'"]
        said = project.sweep(*chosen, "x=1,2", "seconds=3", **ray_variables)
        runs = [project.runs(number) for number in range(2)]
        assert [[run["x"] for run in attempts] for attempts in runs] == [[1], [2]]
        assert len({attempts[0]["node"] for attempts in runs}) == 2
        assert "Warning" not in said
        assert not list(Path(ray_variables["RAY_TMPDIR"]).rglob("params.yaml"))  # no copy of the folder
        second = project.root / "second"
        project.sweep(*chosen, "x=7,8", "first=dies", f"hydra.sweep.dir={second}", **ray_variables)
    attempts = [len(list((second / number).glob("run-*.json"))) for number in ("0", "1")]
    assert attempts == [2, 2]  # a worker that dies is replaced, and its job is run again


def _holds(path: Path, text: str) -> bool:
    try:
        return text in path.read_text(errors="replace")
    except OSError:
        return False
