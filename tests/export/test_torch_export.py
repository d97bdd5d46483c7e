"""torch.export's file: the trained model's candidates, and no way to run what else is in such an archive."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reprolens.errors import ExportError
from reprolens.export.gate.numbers import difference
from reprolens.export.torch_export import write_torch_export
from reprolens.inference.load import load_model


@pytest.fixture(scope="module")
def made(exported: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    it = exported("fcos_mobilenet_v2")
    path = tmp_path_factory.mktemp("pt2") / "model.pt2"
    assert write_torch_export(it.source, path).batch is None
    return it, path


def test_it_finds_what_the_onnx_file_finds_in_pictures_of_any_size(
    made: tuple[Any, Path], pictures: list[NDArray[np.uint8]]
) -> None:
    it, path = made
    model = load_model(path, threads=1)
    assert model.contract == it.source.contract("torch_export", None, postprocess=False)
    options = it.trained.options
    for picture in pictures:
        found = (one(picture[None])[0] for one in (it.model, model))
        gap = difference(*found, options.score_threshold, options.detections_per_image, 1e-3)
        assert (gap.unmatched, gap.box < 0.1, gap.score < 1e-3) == (0, True, True), gap
        assert gap.matched > 50


def test_a_batch_gives_what_its_pictures_give_alone(made: tuple[Any, Path], pictures: list[NDArray[np.uint8]]) -> None:
    model = load_model(made[1], threads=1)
    batch = np.stack([pictures[0], 255 - pictures[0]])
    for together, alone in zip(model(batch), (model(picture[None])[0] for picture in batch), strict=True):
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)


def test_the_same_model_gives_the_same_bytes_which_name_no_file_of_the_machine(
    made: tuple[Any, Path], tmp_path: Path
) -> None:
    it, path = made
    write_torch_export(it.source, tmp_path / "another name.pt2")
    assert (tmp_path / "another name.pt2").read_bytes() == path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        graph = archive.read("archive/models/model.json").decode()
    assert ".py" not in graph


def test_two_stages_are_refused_and_leave_no_file(exported: Callable[[str], Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"has two stages, which torch\.export cannot follow"):
        write_torch_export(exported("fasterrcnn_mobilenet_v3_large_fpn").source, tmp_path / "model.pt2")
    assert list(tmp_path.iterdir()) == []


class _Evil:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('was run')",))


def _pickled(content: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    torch.save((_Evil(),), buffer)
    content["archive/data/sample_inputs/model.pt"] = buffer.getvalue()


def _legacy_weights(content: dict[str, bytes]) -> None:
    content["archive/data/weights/model.pt"] = pickle.dumps(_Evil())


def _pickled_weight(content: dict[str, bytes]) -> None:
    name = "archive/data/weights/model_weights_config.json"
    config = json.loads(content[name])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    content[f"archive/data/weights/{first['path_name']}"] = pickle.dumps(_Evil())
    content[name] = json.dumps(config).encode()


def _other_operator(content: dict[str, bytes]) -> None:
    name = "archive/models/model.json"
    content[name] = content[name].replace(b"torch.ops.aten.relu.default", b"torch.hub.load", 1)


def _expression(content: dict[str, bytes]) -> None:
    name = "archive/models/model.json"
    start = content[name].index(b"Symbol('s")
    content[name] = content[name][:start] + b"__import__('os').abort() + " + content[name][start:]


@pytest.mark.parametrize("change", [_pickled, _legacy_weights, _pickled_weight, _other_operator, _expression])
def test_an_archive_that_could_run_code_is_refused(
    change: Callable[[dict[str, bytes]], None], made: tuple[Any, Path], tmp_path: Path
) -> None:
    with zipfile.ZipFile(made[1]) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    with pytest.raises(ExportError, match=r"is not loaded|cannot load it"):
        load_model(tmp_path / "model.pt2")


def test_what_is_no_archive_or_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.pt2").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ExportError, match="torch cannot load it"):
        load_model(tmp_path / "noise.pt2")
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "other.pt2")
    with pytest.raises(ExportError, match="was not exported by reprolens"):
        load_model(tmp_path / "other.pt2")
