"""ONNX files, run by onnxruntime."""

from pathlib import Path

import onnxruntime

from reprolens.errors import ExportError, first_line
from reprolens.inference.model import KEY, Found, Model, Pixels, read_contract
from reprolens.inference.outputs import Arrays, find, output_names

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""Which of onnxruntime's providers may run a file, the first that is there first."""
_FATAL = 4
"""onnxruntime's level of logging at which it keeps to itself what it also raises."""


class OnnxModel(Model):
    """An exported ONNX file; `device` is cpu, or None for the best there is.

    Raises ExportError if onnxruntime cannot load it or it is not one of ours.
    """

    def __init__(self, path: Path, threads: int | None = None, device: str | None = None) -> None:
        self._path = path
        self.session = _session(path, threads, device)
        self.contract = read_contract(self.session.get_modelmeta().custom_metadata_map.get(KEY), path)
        inputs = [entry.name for entry in self.session.get_inputs()]
        outputs = {entry.name for entry in self.session.get_outputs()}
        if inputs != ["images"] or not outputs.issuperset(output_names(self.contract)):
            raise ExportError(
                f"{path}: does not have the inputs and outputs that its metadata tell of; export it again"
            )

    def __call__(self, images: Pixels) -> list[Found]:
        return find(images, self.contract, self._run)

    def _run(self, images: Pixels) -> Arrays:
        names = output_names(self.contract)
        try:
            return dict(zip(names, self.session.run(names, {"images": images}), strict=True))
        except Exception as error:  # onnxruntime's own classes derive from Exception alone
            raise ExportError(f"{self._path}: onnxruntime cannot run it ({first_line(error)})") from None


def _session(path: Path, threads: int | None, device: str | None) -> onnxruntime.InferenceSession:
    if device not in (None, "cpu"):
        raise ExportError(f"{path}: cannot be run on {device!r}; name cpu, or nothing for the best device there is")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = _FATAL
    if threads is not None:
        options.intra_op_num_threads = threads
    offered = onnxruntime.get_available_providers()
    providers = [name for name in _PROVIDERS[-1 if device else 0 :] if name in offered]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        raise ExportError(f"{path}: onnxruntime cannot load it ({first_line(error)})") from None
