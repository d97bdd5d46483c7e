"""Weights from a Weights & Biases artifact: the real client, and the tests' own server on this machine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import wandb

from models.saying import NOTHING, equal, names
from reprolens.config import ArtifactWeights, Model
from reprolens.errors import WeightsError
from reprolens.files import sha256
from reprolens.models import build, save_trained
from reprolens.models.preprocessing import Preprocessing
from reprolens.models.weights import artifact_weights
from tracking.server import Server

DEFAULT = "fcos_mobilenet_v2"
CONFIG = ArtifactWeights("artifact", "tester/p/digits-model:latest", None, NOTHING)
SETTINGS = wandb.Settings(console="off", silent=True, x_disable_meta=True, x_disable_stats=True, disable_git=True)
SWAPPED = Preprocessing((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), 255.0, "BGR")


def _publish(folder: Path, **files: Path) -> None:
    """Log an artifact of files, given by their names in it, as another run did."""
    with wandb.init(project="p", entity="tester", dir=folder, settings=SETTINGS) as run:
        artifact = wandb.Artifact("digits-model", type="model")
        for name, path in files.items():
            artifact.add_file(str(path), name.replace("__", "/").replace("_", "."))
        run.log_artifact(artifact).wait(timeout=15)


def _refused(config: ArtifactWeights, options: Model) -> str:
    with pytest.raises(WeightsError) as caught:
        artifact_weights(config, options)
    return str(caught.value)


@pytest.fixture
def model(options: Callable[..., Model], tmp_path: Path) -> Path:
    """Return a weights/model.pt of two classes, trained on pictures blue first."""
    torch.manual_seed(3)
    state = build(options(DEFAULT), 2).state_dict()
    save_trained(tmp_path / "model.pt", state, options(DEFAULT), ("x", "y"), SWAPPED)
    return tmp_path / "model.pt"


def test_another_runs_model_comes_with_its_classes_and_what_it_expects(
    server: Server, model: Path, options: Callable[..., Model], tmp_path: Path
) -> None:
    _publish(tmp_path, model_pt=model)
    weights = artifact_weights(CONFIG, options(DEFAULT))
    assert equal(weights.state, torch.load(model, weights_only=True)["state_dict"])
    assert (weights.classes, weights.preprocessing) == (("x", "y"), SWAPPED)
    origin = weights.origin
    assert (origin["source"], origin["file"], origin["sha256"]) == ("artifact", "model.pt", sha256(model))
    assert origin["name"] == "tester/p/digits-model:v0"  # the version, which latest is not for ever
    assert len(origin["digest"]) == 32


def test_of_several_files_of_weights_one_has_to_be_named(
    server: Server, model: Path, options: Callable[..., Model], tmp_path: Path
) -> None:
    other, notes = tmp_path / "other.pth", tmp_path / "notes.txt"
    torch.save({"a": torch.zeros(1)}, other)
    notes.write_text("what it is")
    _publish(tmp_path, best__model_pt=model, other_pth=other, notes_txt=notes)
    names(_refused(CONFIG, options(DEFAULT)), "pretrain.file", "best/model.pt, other.pth", "name one of them")
    weights = artifact_weights(replace(CONFIG, file="best/model.pt"), options(DEFAULT))
    assert (weights.classes, weights.origin["file"]) == (("x", "y"), "best/model.pt")
    near = _refused(replace(CONFIG, file="best/model.pth"), options(DEFAULT))
    names(near, "pretrain.file", "has no best/model.pth", "did you mean best/model.pt")
    nothing = _refused(replace(CONFIG, file="other.pth"), options(DEFAULT))
    names(nothing, "other.pth of the artifact tester/p/digits-model:latest: none of its 1 tensors")
    assert str(tmp_path.parent) not in nothing


@pytest.mark.parametrize("file", ["../model.pt", "/etc/passwd", "best/../../model.pt"])
def test_a_file_outside_of_the_artifact_is_refused(
    file: str, server: Server, model: Path, options: Callable[..., Model], tmp_path: Path
) -> None:
    _publish(tmp_path, model_pt=model)
    names(_refused(replace(CONFIG, file=file), options(DEFAULT)), f"pretrain.file: {file} leaves the artifact")


def test_an_artifact_without_weights_says_so(server: Server, options: Callable[..., Model], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing else")
    _publish(tmp_path, notes_txt=tmp_path / "notes.txt")
    names(_refused(CONFIG, options(DEFAULT)), "pretrain.file", CONFIG.artifact, "no file named as weights are")


@pytest.mark.parametrize("name", ["tester/p/absent:latest", "tester/p/digits-model:v7", "a/b/c/d:v1"])
def test_an_artifact_that_is_not_there_is_named(
    name: str, server: Server, model: Path, options: Callable[..., Model], tmp_path: Path
) -> None:
    _publish(tmp_path, model_pt=model)
    names(_refused(replace(CONFIG, artifact=name), options(DEFAULT)), f"pretrain.artifact: {name}: not found on http")


def test_without_a_key_it_is_said_where_one_is_set(
    server: Server, options: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    wandb.teardown()
    names(_refused(CONFIG, options(DEFAULT)), "pretrain.artifact: no W&B key is set", "wandb login")


def test_without_a_server_its_address_is_named(
    server: Server, options: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens on port 9
    wandb.teardown()
    names(_refused(CONFIG, options(DEFAULT)), "no W&B server answers at http://127.0.0.1:9", "use pretrain: file")
