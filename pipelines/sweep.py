"""Hydra's multirun over DVC reproductions: python -m pipelines.sweep -m model=a,b optimizer.lr=1e-3,3e-3

Each combination is a trial in multirun/<sweep>/<n>/, recorded as a DVC experiment and as a W&B run. The same command
again goes on where a sweep was stopped. Without `-m`: one trial. `--dry-run` says what would be done, and stops.
"""

import math
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from pipelines.stage import ROOT
from reprolens.config.load import validate
from reprolens.sweeps.driver import drive, one_trial
from reprolens.sweeps.plan import is_search
from reprolens.sweeps.search import register, work


@hydra.main(version_base="1.3", config_path=str(ROOT), config_name="params")
def job(node: DictConfig) -> tuple[float, ...] | float | None:
    """Run what Hydra asks for: a trial, whose objectives go to the sweeper, or one of a search's workers."""
    own = HydraConfig.get()
    sweep = Path(own.sweep.dir).resolve()
    if own.mode == RunMode.MULTIRUN and is_search(own):
        work(ROOT, sweep)
        return None
    config = validate(OmegaConf.masked_copy(node, [str(key) for key in node if key != "experiment"]))
    values = one_trial(ROOT, sweep, config).values or (math.nan,) * len(config.sweep.metric)
    return values if len(values) > 1 else values[0]


if __name__ == "__main__":
    register()
    drive(ROOT, sys.argv[1:], job)
