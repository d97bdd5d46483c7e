"""ONNX whose network is of 8-bit integers: a quarter of the size, and 1.5 to 3 times as fast where the processor has
instructions for them and the convolutions are ordinary ones, not depthwise.

All layers go into 8 bits. If that costs too much accuracy on the val split, those that make the most noise are left in
float: one, two, four and so on, up to half of them, until what is lost is half of what the gate allows. The gate's own
pictures are not looked at: an artifact chosen on them would be judged too well.
"""

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from onnx import ModelProto

from reprolens.config import ExportFormat
from reprolens.errors import ExportError
from reprolens.export.calibration import calibration_pixels, measure
from reprolens.export.formats import Written
from reprolens.export.gate import accuracy
from reprolens.export.layers import find_layers
from reprolens.export.onnx import assemble, save
from reprolens.export.quantisation import Range, choose_ranges, layers_left, prepare, quantise, quantised_nodes
from reprolens.export.sensitivity import rank
from reprolens.export.source import Source
from reprolens.inference.load import load_model
from reprolens.progress import track

_MARGIN = 0.5
"""So much of the drop that the gate allows may be lost on the val split; the rest is for another split's chance."""
_SHOWN = 2
"""Pictures on which noise is measured."""
_MOST = 1000
"""Pictures on which a choice of layers is tried."""


def write_int8(source: Source, path: Path) -> Written:
    """Write the model with its network in 8 bits. Raises ExportError if it has no layer that can be."""
    network = prepare(source.parts.network)
    layers = find_layers(network.graph)
    if not layers:
        raise ExportError(f"{source.trained.options.name}: has no layers that can be of 8-bit integers")
    ranges = calibrate(source, network)

    def build(floats: Collection[str]) -> ModelProto:
        parts = replace(source.parts, network=quantise(network, ranges, floats))
        return assemble(parts, source.contract(ExportFormat.onnx_int8, parts.batch))

    def ranking() -> list[str]:
        return [layer.name for layer, _ in rank(network, ranges, list(calibration_pixels(source, _SHOWN)))]

    drop = _Drop(source)
    floats, lost = choose_floats(lambda names: drop(build(names)), ranking, _MARGIN * source.config.gate.max_drop.int8)
    save(build(floats), path)
    left = layers_left(network.graph, floats)
    facts = {
        "layers": len(layers),
        "layers_in_float": len(left),
        "float_layers": ", ".join(left),
        "calibration_images": min(source.config.calibration_images, len(source.folder.splits["train"])),
        "drop_before_gate": round(lost, 5),
    }
    return Written(source.parts.batch, facts)


def calibrate(source: Source, network: ModelProto) -> dict[str, Range]:
    """Return the range of each tensor of a prepared network that may be quantised, from pictures of the train split."""
    nodes = quantised_nodes(network.graph)
    tensors = sorted({name for node in nodes for name in (*node.input, *node.output)})
    seen = measure(network, tensors, track(calibration_pixels(source, source.config.calibration_images), "calibration"))
    return choose_ranges(network, seen, calibration_pixels(source, _SHOWN))


def choose_floats(
    drop: Callable[[Sequence[str]], float], ranking: Callable[[], Sequence[str]], allowed: float
) -> tuple[tuple[str, ...], float]:
    """Return the layers to leave in float, the first of `ranking` and as few as need be, and what is lost then.

    `drop` says what is lost with certain layers in float. Where nothing keeps within `allowed`, what loses least. Half
    of the layers at most: beyond that it is no file of 8 bits.
    """
    tried: dict[tuple[str, ...], float] = {(): drop(())}
    names = ranking() if tried[()] > allowed else ()
    most, count = len(names) // 2, 1
    while most and min(tried.values()) > allowed:
        floats = tuple(names[: min(count, most)])
        tried[floats] = drop(floats)
        if count >= most:
            break
        count *= 2
    return min(tried.items(), key=lambda item: item[1])


class _Drop:
    """By how much accuracy falls from the float32 file to another, on pictures that the gate does not look at."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.split = "val" if source.folder.splits["val"] else "train"
        parts = source.parts
        self.float32 = self._measure(assemble(parts, source.contract(ExportFormat.onnx, parts.batch)))

    def __call__(self, model: ModelProto) -> float:
        found = self._measure(model)
        pairs = [(self.float32[name], found[name]) for name in accuracy.MEASURES]
        return max((before - (after or 0.0) for before, after in pairs if before is not None), default=0.0)

    def _measure(self, model: ModelProto) -> Mapping[str, float | None]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            save(model, path)
            return accuracy.measure(load_model(path, device="cpu"), self.source.folder, self.split, "int8", limit=_MOST)
