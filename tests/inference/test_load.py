"""Which file is loaded for what the user names, and what is said where none can be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reprolens.errors import ExportError
from reprolens.inference.load import load_model

Write = Callable[..., Path]


def refusal(path: Path) -> str:
    with pytest.raises(ExportError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_is_loaded_by_its_suffix(write_colours: Write) -> None:
    assert load_model(write_colours("MODEL.ONNX")).contract.model == "colours"


def test_folder_stands_for_the_only_model_in_it(write_colours: Write) -> None:
    path = write_colours("export/anything.onnx", model="only")
    (path.parent / "labels.txt").write_text("red\n")
    assert load_model(path.parent).contract.model == "only"


def test_of_several_files_model_onnx_counts(write_colours: Write) -> None:
    path = write_colours("export/model.onnx", model="preferred")
    write_colours("export/model-int8.onnx", model="other")
    (path.parent / "model-openvino.xml").write_text("<net/>")
    assert load_model(path.parent).contract.model == "preferred"
    path.unlink()
    assert "name the file" in refusal(path.parent)


def test_model_json_says_which_file_counts(write_colours: Write) -> None:
    folder = write_colours("export/b.onnx", model="first").parent
    write_colours("export/a.onnx", model="second")
    about = folder / "model.json"
    about.write_text(json.dumps({"files": {"onnx_int8": {"file": "b.onnx"}, "torch_export": {"file": "a.onnx"}}}))
    assert load_model(folder).contract.model == "first"
    about.write_text(json.dumps({"files": {"onnx_int8": {"file": "b.onnx"}, "onnx": {"file": "a.onnx"}}}))
    assert load_model(folder).contract.model == "second"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"files": {}}', '{"files": 3}', '{"files": {"onnx": 3}}', '{"files": {"onnx": {"file": ".."}}}']
    + [
        json.dumps({"files": {"onnx": {"file": name}}})
        for name in ("../model.onnx", "/model.onnx", "", "a/../model.onnx")
    ],
)
def test_model_json_that_is_damaged_or_leads_out_of_the_folder_is_refused(write_colours: Write, text: str) -> None:
    outside = write_colours()
    folder = write_colours("export/model.onnx").parent
    (folder / "model.json").write_text(text)
    assert outside.is_file()
    assert "model.json" in refusal(folder) or "taken are" in refusal(folder)


def test_what_is_missing_or_of_another_kind_is_said(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "model.onnx")
    assert "no exported model" in refusal(tmp_path)
    (tmp_path / "weights.txt").write_text("")
    assert ".onnx, .xml, .pt2" in refusal(tmp_path / "weights.txt")
