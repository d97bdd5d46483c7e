"""Search: an Optuna study asked by workers, each of them one Hydra job, instead of a grid laid out beforehand."""

from reprolens.sweeps.search.sweeper import TARGET, register
from reprolens.sweeps.search.worker import work

__all__ = ["TARGET", "register", "work"]
