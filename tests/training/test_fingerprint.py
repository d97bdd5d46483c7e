"""The fingerprint: each part changes exactly when what it stands for does, and a fresh start says which."""

import importlib.metadata
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import reprolens
from reprolens.config import Config
from reprolens.config.training import Cache, Keep, Precision
from reprolens.loading import open_index
from reprolens.models.weights import StartingWeights, save_starting_weights
from reprolens.training.fingerprint import IRRELEVANT, fingerprint, run_folder
from reprolens.voc import Folder, read_folder

Compose = Callable[..., Config]
Parts = dict[str, str]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def usual(configure: Compose) -> Config:
    return configure()


@pytest.fixture(scope="module")
def parts(usual: Config, digits: Folder, initial: Path) -> Callable[..., Parts]:
    """Return a maker of the parts, each argument standing for something other than the usual."""
    digest = open_index(digits).digest()

    def make(config: Config = usual, data: str = digest, weights: Path = initial, processes: int = 1) -> Parts:
        return fingerprint(config, data, weights, CPU, processes)

    return make


def _set(config: Any, knob: str, value: object) -> Any:
    """Return a configuration in which a knob, named as in params.yaml, has another value."""
    name, _, rest = knob.partition(".")
    return replace(config, **{name: _set(getattr(config, name), rest, value) if rest else value})


def _changed(first: Parts, second: Parts) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if first[name] != second[name]]


def test_the_same_inputs_have_the_same_parts(parts: Callable[..., Parts]) -> None:
    assert parts() == parts()


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("seed", 2),
        ("model.name", "fcos_resnet50_fpn"),
        ("model.image_size", [96, 96]),
        ("transfer.backbone_lr_factor", 0.5),
        ("augment.horizontal_flip", 0.25),
        ("augment.multi_scale", [0.5, 2.0]),
        ("optimizer.lr", 1e-5),
        ("optimizer.betas", [0.9, 0.9]),
        ("schedule.final_factor", 0.02),
        ("trainer.max_epochs", 3),
        ("trainer.max_steps", 3),
        ("trainer.max_minutes", 3.0),
        ("trainer.batch_size", 8),
        ("trainer.accumulate", 2),
        ("trainer.gradient_clip", 0.0),
        ("trainer.ema_decay", 0.5),
        ("trainer.evaluate_every", 2),
        ("trainer.patience", 1),
        ("trainer.keep", Keep.last),
        ("trainer.deterministic", False),
        ("trainer.precision", Precision.auto),
        ("trainer.channels_last", True),
        ("trainer.compile", True),
        ("trainer.threads", 2),
    ],
)
def test_a_knob_changes_its_own_part_alone(
    knob: str, value: object, usual: Config, parts: Callable[..., Parts]
) -> None:
    assert _changed(parts(), parts(_set(usual, knob, value))) == [knob.partition(".")[0]]


def test_another_choice_of_a_group_changes_its_own_part_alone(configure: Compose, parts: Callable[..., Parts]) -> None:
    groups = {"model": "ssdlite320_mobilenet_v3_large", "transfer": "new_head", "augment": "mosaic"}
    groups |= {"optimizer": "sgd", "schedule": "step"}
    other = parts(configure(*(f"{group}={choice}" for group, choice in groups.items())))
    assert set(_changed(parts(), other)) == set(groups)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("trainer.cache", Cache.none),
        ("trainer.cache_mb", 7),
        ("trainer.checkpoint_minutes", 0.5),
        ("trainer.checkpoint_steps", 3),
        ("trainer.workers", 2),
        ("export.opset", 18),
        ("evaluate.samples", 2),
        ("data.max_digits", 2),  # what the data set was made by; what it is made of counts
    ],
)
def test_what_cannot_change_a_bit_changes_no_part(
    knob: str, value: object, usual: Config, parts: Callable[..., Parts]
) -> None:
    assert _set(usual, knob, value) != usual
    assert parts(_set(usual, knob, value)) == parts()


def test_every_knob_that_is_left_out_is_one_of_the_trainer(usual: Config) -> None:
    assert all(hasattr(usual.trainer, name) for name in IRRELEVANT)


def test_processes_and_libraries_are_the_machine_s(
    parts: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = parts()
    assert _changed(before, parts(processes=2)) == ["machine"]
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0" if name == "pillow" else version(name))
    assert _changed(before, parts()) == ["machine"]


@pytest.mark.parametrize("library", ["scipy", "transformers"])
def test_libraries_of_an_extra_are_the_machine_s_of_the_models_that_need_it(
    library: str, usual: Config, parts: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library, reason="the extra transformers is not installed")
    detr = _set(usual, "model.name", "dfine_n")
    before, others = parts(detr), parts()
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.0" if name == library else version(name))
    assert _changed(before, parts(detr)) == ["machine"]
    assert parts() == others


def test_the_bytes_of_the_starting_weights_count_not_their_place(
    parts: Callable[..., Parts], initial: Path, tmp_path: Path
) -> None:
    before = parts()
    shutil.copy(initial, tmp_path / "moved.pt")
    assert parts(weights=tmp_path / "moved.pt") == before
    save_starting_weights(tmp_path / "other.pt", StartingWeights({"backbone.a": torch.zeros(1)}, (), {}))
    assert _changed(before, parts(weights=tmp_path / "other.pt")) == ["weights"]


def _last_byte(root: Path) -> None:
    picture = sorted((root / "JPEGImages").iterdir())[0]
    data = bytearray(picture.read_bytes())
    data[-1] ^= 1
    picture.write_bytes(data)


def _box(root: Path) -> None:
    annotation = sorted((root / "Annotations").iterdir())[0]
    text = annotation.read_text()
    first, last = text.split("<xmax>", 1)
    number, rest = last.split("<", 1)
    annotation.write_text(f"{first}<xmax>{float(number) - 0.5}<{rest}")


def _class_order(root: Path) -> None:
    names = (root / "labels.txt").read_text().splitlines()
    (root / "labels.txt").write_text("\n".join([*names[1:], names[0]]) + "\n")


def _split(root: Path) -> None:
    path = root / "ImageSets" / "Main" / "train.txt"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[1:]))


@pytest.mark.parametrize("change", [_last_byte, _box, _class_order, _split])
def test_a_change_of_the_data_changes_that_part_alone(
    change: Callable[[Path], None], parts: Callable[..., Parts], digits: Folder, tmp_path: Path
) -> None:
    root = tmp_path / "voc"
    shutil.copytree(digits.root, root)
    same = parts(data=open_index(read_folder(root)).digest())
    assert same == parts()  # neither place nor times count
    change(root)
    assert _changed(same, parts(data=open_index(read_folder(root)).digest())) == ["data"]


def test_a_change_of_a_source_that_training_runs_is_seen_another_one_is_not(
    parts: Callable[..., Parts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = parts()
    copy = tmp_path / "reprolens"
    shutil.copytree(Path(reprolens.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(reprolens, "__file__", str(copy / "__init__.py"))
    assert parts() == before
    others = ("export/onnx.py", "inference/load.py", "tracking/publish.py", "evaluation/reports/plots.py")
    for name in (*others, "__main__.py"):
        (copy / name).write_text("# changed\n")
    assert parts() == before
    seen = [before["code"]]
    deciding = ("voc/records.py", "loading/mixing.py", "models/fcos.py", "training/loop.py")
    for name in (*deciding, "evaluation/measures/coco.py", "evaluation/predict.py", "pixels.py"):
        with (copy / name).open("a") as file:
            file.write("# changed\n")
        assert _changed(before, parts()) == ["code"]
        assert parts()["code"] not in seen
        seen.append(parts()["code"])


def _with(parts: Parts, **changes: str) -> Parts:
    return {**parts, **changes}


def test_the_folder_of_the_same_parts_is_found_again_without_a_word(tmp_path: Path) -> None:
    folder, reason = run_folder(tmp_path, {"seed": "a", "data": "b"})
    assert (folder.is_dir(), reason) == (True, "")
    assert run_folder(tmp_path, {"data": "b", "seed": "a"}) == (folder, "")


def test_another_run_is_named_with_the_parts_in_which_it_differs(tmp_path: Path) -> None:
    parts = {"data": "a", "seed": "b", "optimizer": "c"}
    first, _ = run_folder(tmp_path, parts)
    second, reason = run_folder(tmp_path, _with(parts, seed="x", optimizer="y"))
    assert second != first
    assert reason == f"the unfinished run {first} differs in seed, optimizer"


def test_of_several_unfinished_runs_the_latest_is_compared(tmp_path: Path) -> None:
    parts = {"data": "a", "seed": "b"}
    old, _ = run_folder(tmp_path, parts)
    late, _ = run_folder(tmp_path, _with(parts, data="x"))
    os.utime(old / "fingerprint.json", (1, 1))
    os.utime(late / "fingerprint.json", (2, 2))
    assert run_folder(tmp_path, _with(parts, seed="y"))[1].endswith(f"{late} differs in data, seed")


def test_a_damaged_fingerprint_of_another_run_is_no_obstacle(tmp_path: Path) -> None:
    other, _ = run_folder(tmp_path, {"seed": "a"})
    (other / "fingerprint.json").write_text("{")
    folder, reason = run_folder(tmp_path, {"seed": "b"})
    assert (folder.is_dir(), reason) == (True, "")
