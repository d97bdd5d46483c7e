"""Hydra's multirun over DVC reproductions: python -m pipelines.sweep -m model=a,b optimizer.lr=1e-3,3e-3

Each combination is a trial in multirun/<sweep>/<n>/: its params.yaml and config.yaml, its reports, its log. Without
`-m`: one trial. What a trial returns to the sweeper is `sweep.metric`.
"""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pipelines.stage import ROOT
from reprolens.config.compose import search_path
from reprolens.config.load import validate
from reprolens.errors import ReprolensError
from reprolens.sweeps import run_trial


@hydra.main(version_base="1.3", config_path=str(ROOT), config_name="params")
def main(node: DictConfig) -> float:
    try:
        config = validate(OmegaConf.masked_copy(node, [str(key) for key in node if key != "experiment"]))
        folder = Path(HydraConfig.get().runtime.output_dir).resolve()
        value = run_trial(ROOT, folder, config)
    except ReprolensError as error:  # here, because Hydra would make a traceback of it
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"{folder.relative_to(ROOT)}: {config.sweep.metric} {value:.4f}", flush=True)
    return value


if __name__ == "__main__":
    sys.argv += [search_path(ROOT), "hydra.run.dir=multirun/${now:%Y-%m-%d}/${now:%H-%M-%S}/0"]
    main()
