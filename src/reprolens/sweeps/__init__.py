"""Sweeps: each combination is a DVC reproduction in a workspace of its own, on one shared cache."""
