"""Trials: each combination of a sweep is a DVC reproduction in a workspace of its own, on one shared cache."""

from reprolens.sweeps.trial import run_trial

__all__ = ["run_trial"]
