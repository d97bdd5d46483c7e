"""What programs are told of an exported folder is true of its files, and the example beside them runs as it stands."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from export.reports import exported
from reprolens.config import Export, ExportFormat
from reprolens.export.about import OUTPUTS, example, write_about
from reprolens.export.formats import FORMATS, Written
from reprolens.export.provenance import Provenance
from reprolens.export.source import Source
from reprolens.files import sha256
from reprolens.inference.load import load_model
from reprolens.inference.pictures import read_picture

ORIGIN = Provenance("f" * 40, False, {}, "c" * 64, "d" * 64, "")
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def write(
    source_of: Callable[..., Source], options: Export, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[ExportFormat, bool], Path]:
    """Return what makes a folder of one format, with what is told of it; each is made once."""
    made: dict[tuple[ExportFormat, bool], Path] = {}

    def make(name: ExportFormat = ExportFormat.onnx, postprocess: bool = True) -> Path:
        if (name, postprocess) not in made:
            config = replace(options, formats=[name], postprocess=postprocess)
            source = source_of("fcos_mobilenet_v2", config, detections_per_image=20)
            folder = tmp_path_factory.mktemp("export")
            written = FORMATS[name].write(source, folder / FORMATS[name].file)
            write_about(folder, source, exported([name.value]), {name: written}, ORIGIN)
            made[name, postprocess] = folder
        return made[name, postprocess]

    return make


def _about(folder: Path) -> Any:
    return json.loads((folder / "model.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("postprocess", [True, False])
def test_what_is_said_to_go_in_and_come_out_is_what_the_file_says_itself(postprocess: bool, write: Write) -> None:
    folder = write(postprocess=postprocess)
    about, session = _about(folder), onnxruntime.InferenceSession(folder / "model.onnx")
    [given] = session.get_inputs()
    assert (about["input"]["name"], f"tensor({about['input']['type']})") == (given.name, given.type)
    assert len(about["input"]["shape"]) == len(given.shape) and about["input"]["shape"][-1] == given.shape[-1] == 3
    kind = about["files"]["onnx"]["gives"]
    assert kind == ("detections" if postprocess else "candidates")
    said = [
        (item["name"], item["type"].replace("float32", "float"), len(item["shape"])) for item in about["outputs"][kind]
    ]
    assert said == [(item.name, item.type[7:-1], len(item.shape)) for item in session.get_outputs()]
    assert set(about["outputs"]) == {kind}


def test_the_hashes_sizes_and_names_are_those_of_the_files(write: Write) -> None:
    folder = write()
    about, file = _about(folder), folder / "model.onnx"
    entry = about["files"]["onnx"]
    assert (entry["file"], entry["sha256"], entry["bytes"]) == (file.name, sha256(file), file.stat().st_size)
    assert (entry["precision"], entry["batch"]) == ("float32", None)
    contract = load_model(folder).contract
    assert (folder / "labels.txt").read_text().split("\n") == [*about["classes"], ""] == [*contract.classes, ""]
    thresholds = (contract.score_threshold, contract.nms_threshold, contract.detections_per_image)
    assert tuple(about["thresholds"].values()) == thresholds
    assert tuple(about["input"]["inside"]["resize"]) == contract.size
    assert (about["weights"], about["data"]) == ({"sha256": "c" * 64}, {"sha256": "d" * 64})
    assert (about["revision"], about["versions"]["opset"]) == ("f" * 40, 20)
    assert about["versions"]["onnxruntime"] == onnxruntime.__version__


def test_preprocessing_is_told_as_the_weights_expect_it(write: Write) -> None:
    inside = _about(write())["input"]["inside"]
    assert (inside["mean"], inside["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert (inside["range"], inside["colour"]) == (1.0, "RGB")


def test_the_same_model_is_described_by_the_same_bytes(
    write: Write, source_of: Callable[..., Source], tmp_path: Path
) -> None:
    first = write()
    (tmp_path / "model.onnx").write_bytes((first / "model.onnx").read_bytes())
    source = source_of("fcos_mobilenet_v2", detections_per_image=20)
    faster = exported(["onnx"], **{"onnx/latency_ms/p50": 1.0})  # what was measured is not in it
    write_about(tmp_path, source, faster, {ExportFormat.onnx: Written(None, {})}, ORIGIN)
    for name in ("model.json", "labels.txt", "example.py"):
        assert (tmp_path / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "postprocess"),
    [
        (ExportFormat.onnx, True),
        (ExportFormat.onnx, False),
        (ExportFormat.torch_export, False),
        (ExportFormat.openvino, True),
        (ExportFormat.openvino, False),
    ],
)
def test_the_example_runs_as_it_stands_and_finds_what_the_file_finds(
    name: ExportFormat, postprocess: bool, write: Write, pictures: list[Any], tmp_path: Path
) -> None:
    if FORMATS[name].package is not None and find_spec(str(FORMATS[name].package)) is None:
        pytest.skip(f"the extra {FORMATS[name].extra} is not installed")
    folder = write(name, postprocess)
    Image.fromarray(pictures[1]).save(tmp_path / "picture.png")
    found = load_model(folder / FORMATS[name].file, threads=1)(pictures[1][None])[0]
    lines = _run(folder / "example.py", tmp_path / "picture.png")
    assert len(lines) == len(found) > 0
    for line, box, score, label in zip(lines, found.boxes, found.scores, found.labels, strict=True):
        its_name, its_score, *edges = line.split()
        assert its_name == str(label)
        assert float(its_score) == pytest.approx(score, abs=2e-3)
        assert np.allclose(np.array(edges, float), box, atol=0.2)


def test_the_example_turns_a_picture_as_its_camera_says(write: Write, pictures: list[Any], tmp_path: Path) -> None:
    Image.fromarray(pictures[1]).save(tmp_path / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by a quarter to the right
    Image.fromarray(np.rot90(pictures[1])).save(tmp_path / "turned.png", exif=exif)
    program = write() / "example.py"
    assert _run(program, tmp_path / "turned.png") == _run(program, tmp_path / "plain.png") != []


@pytest.mark.parametrize("suffix", ["png", "pgm", "tif"])
def test_the_example_sees_grey_of_16_bits_as_predict_does(
    suffix: str, write: Write, pictures: list[Any], tmp_path: Path
) -> None:
    folder, path = write(), tmp_path / f"deep.{suffix}"
    grey = np.asarray(Image.fromarray(pictures[1]).convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 256 + 77).save(path)
    found = load_model(folder, threads=1)(read_picture(path)[None])[0]
    assert len(_run(folder / "example.py", path)) == len(found) > 0
    Image.fromarray(grey).save(tmp_path / "plain.png")
    assert _run(folder / "example.py", path) == _run(folder / "example.py", tmp_path / "plain.png")


@pytest.mark.parametrize("name", ExportFormat)
def test_every_example_is_short_and_names_the_published_file_alone(name: ExportFormat) -> None:
    for kind in OUTPUTS if name != ExportFormat.torch_export else ("candidates",):
        text = example({name.value: {"file": FORMATS[name].file, "gives": kind}})
        assert re.findall(r'"(model[\w-]*\.\w+)"', text.replace('"model.json"', "")) == [FORMATS[name].file]
        assert len(text.splitlines()) <= 40
        assert "reprolens" not in text


def test_of_several_files_the_example_is_for_float32_onnx() -> None:
    entries = {item.name.value: {"file": item.file, "gives": "detections"} for item in FORMATS.values()}
    assert '"model.onnx"' in example(entries)
    assert '"model-float16.onnx"' in example({key: entries[key] for key in ("openvino", "onnx_float16", "onnx_int8")})


def _run(program: Path, picture: Path) -> list[str]:
    """Return the lines that an example prints, run where nothing of the repository can be imported."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [sys.executable, "-P", str(program), str(picture)]
    done = subprocess.run(
        command, cwd=picture.parent, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
