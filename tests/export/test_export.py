"""The export stage: what passed the gate is published with what it takes to use it, what did not is kept apart."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from export.reports import write_reports
from reprolens.config import Export, ExportFormat, OnFailure
from reprolens.errors import ExportError
from reprolens.export import export_model, refuse
from reprolens.export.formats import FORMATS, Written
from reprolens.export.source import Source
from reprolens.files import sha256
from reprolens.inference.load import load_model
from reprolens.models import TrainedModel
from reprolens.voc import Folder

BESIDE = {"README.md", "example.py", "labels.txt", "model.json"}
INT8, FLOAT16 = ExportFormat.onnx_int8, ExportFormat.onnx_float16


@pytest.fixture(scope="module")
def trained(lively: Callable[..., TrainedModel]) -> TrainedModel:
    return lively("fcos_mobilenet_v2", detections_per_image=20)


@pytest.fixture(scope="module")
def reports(
    trained: TrainedModel, converted: tuple[Folder, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return write_reports(tmp_path_factory.mktemp("reports"), trained, *converted)


@pytest.fixture(scope="module")
def export(trained: TrainedModel, digits: Folder, options: Export, reports: Path) -> Callable[..., dict[str, Any]]:
    """Return what runs the stage into a folder, in a repository that is none, and gives its report."""

    def run(out: Path, config: Export = options, trained: TrainedModel = trained, reports: Path = reports) -> Any:
        return export_model(trained, digits, config, reports, out, reports)

    return run


@pytest.fixture(scope="module")
def out(export: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return the exported folder of one ONNX file, and the stage's report."""
    folder = tmp_path_factory.mktemp("exported") / "export"
    return folder, export(folder)


@pytest.fixture(scope="module")
def mixed(
    export: Callable[..., Any], options: Export, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, Any], Export]]:
    """Return what comes of three formats, their options too: one as it should be, one of other weights, and one that
    cannot be written.
    """
    config = replace(options, formats=[FLOAT16, ExportFormat.onnx, INT8])
    folder = tmp_path_factory.mktemp("mixed") / "export"
    with pytest.MonkeyPatch.context() as patch:
        for name, writer in ((INT8, "write_other"), (FLOAT16, "write_half")):
            patch.setitem(FORMATS, name, replace(FORMATS[name], writer=f"{__name__}:{writer}"))
        yield folder, export(folder, config), config


def write_other(source: Source, path: Path) -> Written:
    module = deepcopy(source.trained.module)
    with torch.no_grad():
        module.get_parameter("head.regression_head.bbox_reg.bias").add_(0.5)
    return FORMATS[ExportFormat.onnx].write(replace(source, trained=replace(source.trained, module=module)), path)


def write_half(source: Source, path: Path) -> Written:
    path.write_bytes(b"half")
    raise ExportError(f"{path}: torch gives up")


def test_what_passed_is_published_with_what_it_takes_to_use_it(
    out: tuple[Path, dict[str, Any]], options: Export, pictures: list[Any]
) -> None:
    folder, report = out
    assert {path.name for path in folder.iterdir()} == {"model.onnx", *BESIDE}
    assert (report["published"], report["rejected"]) == (["onnx"], {})
    assert report["onnx/passed"] and report["onnx/file"] == "model.onnx"
    assert report["onnx/sha256"] == sha256(folder / "model.onnx")
    assert report["onnx/size_mb"] == pytest.approx((folder / "model.onnx").stat().st_size / 1e6, abs=0.01)
    assert report["opset"] == options.opset
    assert report["onnx/latency_ms/p50"] > 0 and report["torch/latency_ms/p50"] > 0
    assert abs(report["onnx/drop/voc12/map50"]) <= 0.001
    json.dumps(report, allow_nan=False)
    refuse(report, options)
    assert len(load_model(folder)(pictures[0][None])[0]) > 0


def test_what_is_published_is_the_same_every_time_whatever_else_is_rejected(
    out: tuple[Path, dict[str, Any]], mixed: tuple[Path, dict[str, Any], Export]
) -> None:
    for name in ("model.onnx", "labels.txt", "model.json", "example.py"):
        assert (mixed[0] / name).read_bytes() == (out[0] / name).read_bytes()


def test_a_file_that_is_worse_is_kept_apart_with_the_reason_and_told_of_nowhere_else(
    mixed: tuple[Path, dict[str, Any], Export],
) -> None:
    folder, report, _ = mixed
    assert {path.name for path in folder.iterdir()} == {"model.onnx", "rejected", *BESIDE}
    assert {path.name for path in (folder / "rejected" / "onnx_int8").iterdir()} == {"model-int8.onnx", "reason.txt"}
    assert (report["published"], list(report["rejected"])) == (["onnx"], ["onnx_float16", "onnx_int8"])
    assert [report[f"{name}/passed"] for name in ("onnx", "onnx_int8", "onnx_float16")] == [True, False, False]
    reasons = (folder / "rejected" / "onnx_int8" / "reason.txt").read_text().splitlines()
    assert "; ".join(reasons) == report["rejected"]["onnx_int8"]
    for name in BESIDE:
        assert re.search(r"\bint8|float16", (folder / name).read_text()) is None


def test_a_format_that_cannot_be_written_is_rejected_and_the_others_go_on(
    mixed: tuple[Path, dict[str, Any], Export],
) -> None:
    folder, report, _ = mixed
    assert report["rejected"]["onnx_float16"] == "cannot be written: torch gives up"
    assert (folder / "rejected" / "onnx_float16" / "model-float16.onnx").read_bytes() == b"half"


def test_where_nothing_can_be_written_there_is_nothing_to_judge(
    mixed: tuple[Path, dict[str, Any], Export], export: Callable[..., Any], tmp_path: Path
) -> None:
    report = export(tmp_path / "export", replace(mixed[2], formats=[FLOAT16]))
    assert (report["published"], report["rejected"]) == ([], {"onnx_float16": "cannot be written: torch gives up"})
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["rejected"]


def test_what_was_rejected_ends_the_stage_in_one_line_or_is_let_go_by(
    mixed: tuple[Path, dict[str, Any], Export],
) -> None:
    _, report, config = mixed
    with pytest.raises(ExportError) as caught:
        refuse(report, config)
    assert str(caught.value) == (
        "export: 2 of 3 files are not as good as the model and not published: model-float16.onnx: cannot be written: "
        f"torch gives up; model-int8.onnx: {report['rejected']['onnx_int8']}; they are kept in export/rejected"
    )
    assert "\n" not in str(caught.value)
    refuse(report, replace(config, gate=replace(config.gate, on_failure=OnFailure.warn)))


def test_where_nothing_passed_there_is_no_card_and_nothing_is_called_a_model(
    options: Export, export: Callable[..., Any], tmp_path: Path
) -> None:
    strict = replace(options, gate=replace(options.gate, score_tolerance=1e-12))
    report = export(tmp_path / "export", strict)
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["rejected"]
    assert report["published"] == []
    with pytest.raises(ExportError) as caught:
        refuse(report, strict)
    start = "export: 1 of 1 files is not as good as the model and not published: model.onnx: "
    assert str(caught.value) == f"{start}{report['rejected']['onnx']}; it is kept in export/rejected/onnx"
    assert "export.gate.score_tolerance" in str(caught.value)


@pytest.mark.parametrize("content", [None, "{", "\x00", "[]"])
def test_a_report_that_is_missing_or_damaged_is_named_before_anything_is_made(
    content: str | None, export: Callable[..., Any], reports: Path, tmp_path: Path
) -> None:
    shutil.copytree(reports, tmp_path / "reports")
    (tmp_path / "reports" / "train.json").unlink()
    if content is not None:
        (tmp_path / "reports" / "train.json").write_text(content)
    with pytest.raises(ExportError, match=r"train\.json: missing or damaged; run dvc repro train"):
        export(tmp_path / "export", reports=tmp_path / "reports")
    assert not (tmp_path / "export").exists()


def test_a_detector_of_two_stages_is_refused_what_it_cannot_become(
    lively: Callable[..., TrainedModel], options: Export, export: Callable[..., Any], tmp_path: Path
) -> None:
    trained = lively("fasterrcnn_mobilenet_v3_large_fpn")
    with pytest.raises(ExportError, match=r"export\.formats: torch_export takes detectors of one stage"):
        export(tmp_path / "export", replace(options, formats=[ExportFormat.torch_export]), trained)
    with pytest.raises(ExportError, match=r"export\.postprocess: must be true for fasterrcnn"):
        export(tmp_path / "export", replace(options, postprocess=False), trained)
    assert not (tmp_path / "export").exists()


def test_a_family_without_an_export_leaves_the_earlier_one_as_it_was(
    trained: TrainedModel, export: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "model.onnx").write_bytes(b"of yesterday")
    with pytest.raises(ExportError, match="Linear: this family has no export yet"):
        export(tmp_path / "export", trained=replace(trained, module=nn.Linear(1, 1)))
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (tmp_path / "export" / "model.onnx").read_bytes() == b"of yesterday"


def test_a_format_whose_extra_is_not_installed_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    program = (
        "import sys; from reprolens.config import ExportFormat; from reprolens.errors import ExportError\n"
        "from reprolens.export import check_formats\n"
        "sys.modules['openvino'] = None\n"
        "sys.meta_path.insert(0, type('Hidden', (), {'find_spec': lambda *_: None}))\n"
        "import importlib.util; importlib.util.find_spec.__globals__['_find_spec'] = lambda *_: None\n"
        "sys.modules.pop('openvino')\n"
        "try:\n    check_formats([ExportFormat.openvino])\n"
        "except ExportError as error:\n    print(error, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "export.formats: openvino needs the extra openvino: pip install 'reprolens[openvino]' False\n"


def test_numbers_that_json_does_not_have_are_none() -> None:
    from reprolens.export.export import _finite

    assert [_finite(value) for value in (np.nan, np.inf, 1.5, "x", True)] == [None, None, 1.5, "x", True]
