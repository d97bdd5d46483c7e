"""What programs need to know of an exported folder: model.json and labels.txt; and an example that runs a file of it.

model.json holds

    name, task            the model's name in the registry; detection
    input                 the one input: its name, type, layout, shape (null: any), order of the channels and range of
                          values; under `inside` what the file itself does to a picture: the size it is resized to and
                          how; range, mean, standard deviation and order of the channels that the weights expect
    outputs               `detections` and `candidates`, of what the files give: name, type, shape and meaning of each
    classes               their names in index order, as in labels.txt
    thresholds            which candidates are detections: score, overlap (IoU) for suppression, most in a picture
    files                 by format: file, sha256, bytes, precision, batch (null: any), gives (detections or
                          candidates), and under `with` the SHA-256 of files that must lie beside it
    weights, data         sha256 of the weights, and of the pictures and truth that they were measured on; null: unknown
    revision              the Git commit of the sources; null: unknown
    versions              of reprolens, torch and what else made the files, and ONNX's operator set (opset)
"""

import importlib.metadata
from collections.abc import Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from reprolens.config import ExportFormat
from reprolens.export.formats import FORMATS, Written
from reprolens.export.provenance import Provenance
from reprolens.export.source import Source
from reprolens.files import sha256, write_json, write_text
from reprolens.inference.load import ABOUT
from reprolens.models.preprocessing import Preprocessing

LABELS, EXAMPLE = "labels.txt", "example.py"

OUTPUTS = {
    "detections": (
        ("boxes", "float32", ["batch", "most", 4], "x0 y0 x1 y1 in pixels of the given picture"),
        ("scores", "float32", ["batch", "most"], "the highest first"),
        ("labels", "int64", ["batch", "most"], "indices into the classes"),
        ("counts", "int64", ["batch"], "how many of the rows are detections; the others are 0"),
    ),
    "candidates": (
        ("candidate_boxes", "float32", ["batch", "candidates", 4], "x0 y0 x1 y1 in pixels of the given picture"),
        ("candidate_scores", "float32", ["batch", "candidates", "classes"], "of each class; 0 for all but the best"),
    ),
}

PACKAGES = ("reprolens", "torch", "torchvision", "onnx", "onnxruntime")
"""Whose versions a folder carries; openvino's too if there is a file of it."""

RUNTIMES = {
    ExportFormat.onnx: "onnx",
    ExportFormat.onnx_float16: "onnx",
    ExportFormat.onnx_int8: "onnx",
    ExportFormat.openvino: "openvino",
    ExportFormat.torch_export: "torch",
}
"""What runs each format in its example, in the order in which the one of a folder is chosen."""


def write_about(
    folder: Path, source: Source, report: Mapping[str, Any], written: Mapping[ExportFormat, Written], origin: Provenance
) -> None:
    """Write model.json, labels.txt and example.py into `folder`, where the published files of `report` are."""
    about = describe(folder, source, report, written, origin)
    write_json(folder / ABOUT, about)
    write_text(folder / LABELS, "".join(f"{name}\n" for name in source.trained.classes))
    write_text(folder / EXAMPLE, example(about["files"]))


def describe(
    folder: Path, source: Source, report: Mapping[str, Any], written: Mapping[ExportFormat, Written], origin: Provenance
) -> dict[str, Any]:
    """Return what model.json says; see above."""
    trained, names = source.trained, [ExportFormat(name) for name in report["published"]]
    entries = {name.value: _file(folder, source, name, written[name]) for name in names}
    given = {entry["gives"] for entry in entries.values()}
    return {
        "name": trained.options.name,
        "task": "detection",
        "input": _input(source),
        "outputs": {
            kind: [dict(zip(("name", "type", "shape", "meaning"), output, strict=True)) for output in outputs]
            for kind, outputs in OUTPUTS.items()
            if kind in given
        },
        "classes": list(trained.classes),
        "thresholds": {
            "score": trained.options.score_threshold,
            "nms": trained.options.nms_threshold,
            "detections_per_image": trained.options.detections_per_image,
        },
        "files": entries,
        "weights": {"sha256": origin.weights},
        "data": {"sha256": origin.data},
        "revision": origin.revision,
        "versions": _versions(names) | {"opset": report["opset"]},
    }


def example(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the program that runs one of a folder's files, the one most people want: float32 ONNX if it is there."""
    name = min(map(ExportFormat, entries), key=list(RUNTIMES).index)
    program = files("reprolens.export.examples") / f"{RUNTIMES[name]}_{entries[name]['gives']}.py"
    first = next(other for other, runtime in RUNTIMES.items() if runtime == RUNTIMES[name])  # its file stands there
    return program.read_text(encoding="utf-8").replace(f'"{FORMATS[first].file}"', f'"{entries[name]["file"]}"')


def _file(folder: Path, source: Source, name: ExportFormat, written: Written) -> dict[str, Any]:
    path = folder / FORMATS[name].file
    postprocess = source.config.postprocess and name != ExportFormat.torch_export  # which does not take it
    beside = [path.with_suffix(".bin")] if name == ExportFormat.openvino else []
    entry = {
        "file": path.name,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "precision": FORMATS[name].precision,
        "batch": written.batch,
        "gives": "detections" if postprocess else "candidates",
    }
    return entry | ({"with": {other.name: sha256(other) for other in beside}} if beside else {})


def _input(source: Source) -> dict[str, Any]:
    height, width = source.trained.options.image_size
    transform: Any = source.trained.module.get_submodule("transform")
    preprocessing: Preprocessing = transform.preprocessing
    return {
        "name": "images",
        "type": "uint8",
        "layout": "NHWC",
        "shape": [None, None, None, 3],
        "colour": "RGB",
        "range": [0, 255],
        "inside": {
            "resize": [height, width],
            "interpolation": "bilinear, antialiased",
            "range": preprocessing.range,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "colour": preprocessing.order,
        },
    }


def _versions(names: list[ExportFormat]) -> dict[str, str]:
    versions = {}
    for package in (*PACKAGES, *(["openvino"] if ExportFormat.openvino in names else [])):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
