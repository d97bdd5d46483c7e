"""Reprolens: a labelled image data set in, a tracked, reproducible, exported vision model out."""

__version__ = "0.1.0"
