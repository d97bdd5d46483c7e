"""A trained model as a file that runs without Reprolens, checked against the model it came from."""

from reprolens.export.export import export_model

__all__ = ["export_model"]
