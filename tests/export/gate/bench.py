"""A small detector that exports fast, pictures whose truth is what it finds, and its file to break in every way."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from reprolens.config import ExportFormat
from reprolens.export.eager import TorchModel
from reprolens.export.formats import Written
from reprolens.export.gate.judge import judge
from reprolens.export.gate.pictures import read
from reprolens.export.gate.verdict import Judgement, Verdict
from reprolens.export.onnx import assemble, save
from reprolens.export.source import Source
from reprolens.voc import Folder, Object, Record, read_folder, write_folder

MODEL = "yolov3_tiny"


@dataclass(frozen=True)
class Bench:
    """What the gate judges files of, `source`, whose model is as good as can be on its pictures; and a folder."""

    source: Source
    folder: Path

    def good(self, format: ExportFormat = ExportFormat.onnx) -> ModelProto:
        """Return a copy of what is to be the file, to be changed at will."""
        parts = self.source.parts
        return copy.deepcopy(assemble(parts, self.source.contract(format, parts.batch)))

    def write(self, model: ModelProto) -> Path:
        """Write a file into a folder of its own."""
        path = self.folder / str(len(list(self.folder.iterdir()))) / "model.onnx"
        save(model, path)
        return path

    def judge(self, files: Mapping[ExportFormat, Path], batch: int | None = None, **source: Any) -> Judgement:
        """Judge files that are said to take `batch` pictures; `source` is what is other than in the bench's."""
        return judge(replace(self.source, **source), files, {name: Written(batch, {}) for name in files})

    def verdict(self, model: ModelProto, batch: int | None = None, **source: Any) -> Verdict:
        """Judge one file, said to be float32 ONNX."""
        [verdict] = self.judge({ExportFormat.onnx: self.write(model)}, batch, **source).verdicts
        return verdict


def taught(source: Source, splits: Mapping[str, list[Record]], root: Path) -> Folder:
    """Write a copy of some pictures whose truth is what the model is surest of, four objects a picture on average."""
    reference = TorchModel(source.trained)
    found = {
        item.id: reference(read(source.folder, item.id)[1][None])[0] for items in splits.values() for item in items
    }
    least = np.sort(np.concatenate([item.scores for item in found.values()]))[::-1][4 * len(found)]
    records: dict[str, list[Record]] = {"train": [], "val": [], "test": []}
    for split, items in splits.items():
        for record in items:
            best = found[record.id].above(least)
            objects = [
                Object(source.trained.classes[label], (float(x0), float(y0), float(x1), float(y1)))
                for (x0, y0, x1, y1), label in zip(best.boxes, best.labels, strict=True)
                if min(x1 - x0, y1 - y0) > 4  # what lies beyond the edge has no area within
            ]
            records[split].append(replace(record, objects=tuple(objects)))
            target = root / "JPEGImages" / record.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.folder.image(record).read_bytes())
    write_folder(root, source.trained.classes, records)
    return read_folder(root)


def reported(judgement: Judgement) -> dict[str, Any]:
    """Return what is measured, as it stands in the report, with what passed and why the others did not."""
    verdicts = {verdict.format.value: verdict for verdict in judgement.verdicts}
    return {
        "published": [name for name, verdict in verdicts.items() if verdict.passed],
        "rejected": {name: "; ".join(verdict.reasons) for name, verdict in verdicts.items() if not verdict.passed},
        **judgement.report(),
    }


def quantised(model: ModelProto, layers: int | None = None, bits: int = 8) -> ModelProto:
    """Put the weights of the first convolutions (all, if not said) into 8-bit integers of `bits`, in place."""
    used = [node for node in model.graph.node if node.op_type == "Conv"][:layers]
    names = {node.input[1] for node in used}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name in names]:
        values = numpy_helper.to_array(tensor)
        step = np.abs(values).max() / (2 ** (bits - 1) - 1)
        whole, parts = np.round(values / step).astype(np.int8), [f"{tensor.name}/whole", f"{tensor.name}/step"]
        node = helper.make_node("DequantizeLinear", parts, [tensor.name])
        tensor.CopyFrom(numpy_helper.from_array(whole, parts[0]))
        model.graph.initializer.append(numpy_helper.from_array(np.array(step, np.float32), parts[1]))
        model.graph.node.insert(0, node)
    return model


def with_weights(model: ModelProto, change: Callable[[Any], Any]) -> ModelProto:
    """Change every weight of a convolution, in place, and return the model."""
    names = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    for tensor in model.graph.initializer:
        if tensor.name in names:
            values = np.asarray(change(numpy_helper.to_array(tensor)), dtype=np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return model
