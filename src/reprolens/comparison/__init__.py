"""Experiments compared: what they were set to, how far their results differ, and whether that is more than chance."""

from reprolens.comparison.compare import Comparison, Options, compare

__all__ = ["Comparison", "Options", "compare"]
