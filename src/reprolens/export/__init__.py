"""A trained model as a file that runs without Reprolens, checked against the model it came from."""

from reprolens.export.onnx import export_onnx
from reprolens.export.parity import compare

__all__ = ["compare", "export_onnx"]
