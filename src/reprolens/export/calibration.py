"""Which numbers flow through an exported network: seen on pictures of the train split, as the file itself sees them."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, shape_inference

from reprolens.config import ExportFormat
from reprolens.errors import ExportError
from reprolens.export import graph
from reprolens.export.gate.pictures import read_all, spread
from reprolens.export.source import Source

Floats = NDArray[np.float32]

_TAIL = 1e-4
"""So much of a tensor's numbers lies below the low, and so much above the high quantile."""
_SAMPLE = 1 << 16
"""Of so many numbers of a tensor, evenly spaced, the quantiles are taken."""
_SPREAD = 4.0
"""So much further than the median channel's numbers those of usual channels are taken to reach."""
LOWEST, LOW, USUAL_LOW, USUAL_HIGH, HIGH, HIGHEST = range(6)


def calibration_pixels(source: Source, count: int) -> Iterator[Floats]:
    """Yield up to `count` pictures of the train split, evenly spaced, as the network gets them: `(1, 3, h, w)`.

    They go through the preprocessing of the file, run by onnxruntime. Raises ExportError if the split is empty.
    """
    if not source.folder.splits["train"]:
        raise ExportError(f"{source.folder.root}: the train split has no pictures to calibrate with; run dvc repro")
    network = source.parts.network
    before = graph.before(source.contract(ExportFormat.onnx, 1), network.ir_version, source.config.opset)
    session = open_session(before)
    for picture in read_all(source.folder, spread(source.folder, "train", count)):
        yield session.run(["pixels"], {"images": picture[None]})[0]


def measure(network: ModelProto, tensors: Sequence[str], pictures: Iterable[Floats]) -> dict[str, Floats]:
    """Return for each of `tensors` what its numbers are in each picture `(1, 3, h, w)`: `(pictures, 6)`, the lowest,
    a low quantile, the lowest of usual channels, and the same from above. What is not float, or has no numbers, is
    left out.
    """
    types = float_types(network)
    names = [name for name in tensors if name in types]
    session = open_session(showing(network, names))
    rows: dict[str, list[tuple[float, ...]]] = {}
    for pixels in pictures:
        for name, values in zip(names, session.run(names, {"pixels": pixels}), strict=True):
            if values.size:
                rows.setdefault(name, []).append(_row(values))
    return {name: np.array(found, dtype=np.float32) for name, found in rows.items()}


def by_channel(values: Floats) -> Floats:
    """Return the numbers of a tensor as `(channels, numbers)`; maps have their channels second, others last."""
    if values.ndim < 2:
        return values.reshape(1, -1)
    axis = 1 if values.ndim == 4 else values.ndim - 1
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _row(values: Floats) -> tuple[float, ...]:
    channels, flat = by_channel(values), values.ravel()
    low, high = np.quantile(flat[:: max(1, flat.size // _SAMPLE)], [_TAIL, 1 - _TAIL])
    usual_low, usual_high = np.median(channels.min(axis=1)), np.median(channels.max(axis=1))
    lowest, highest = float(flat.min()), float(flat.max())
    usual = max(lowest, _SPREAD * min(float(usual_low), 0.0)), min(highest, _SPREAD * max(float(usual_high), 0.0))
    return lowest, float(low), *usual, float(high), highest


def float_types(network: ModelProto) -> dict[str, ValueInfoProto]:
    """Return what is known of each float32 tensor of the outermost graph, by name; weights are left out."""
    inferred = shape_inference.infer_shapes(network).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    return {value.name: value for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}


def showing(network: ModelProto, tensors: Iterable[str]) -> ModelProto:
    """Return a copy of `network` whose outputs are `tensors`."""
    types, copy = float_types(network), ModelProto()
    copy.CopyFrom(network)
    del copy.graph.output[:]
    copy.graph.output.extend(types[name] for name in tensors)
    return copy


def open_session(model: ModelProto) -> onnxruntime.InferenceSession:
    """Return what runs `model` on the CPU, and says nothing."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
