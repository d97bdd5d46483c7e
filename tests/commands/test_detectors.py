"""What MODEL stands for: a file, a folder, this repository, a trial, a revision, in this order."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colours import CONTRACT, write_colours
from commands.repository import Repository
from reprolens.commands.detectors import find_detector
from reprolens.errors import ConfigError, ExportError, ReprolensError, WeightsError
from reprolens.export.eager import TorchModel
from reprolens.inference.model import Found
from reprolens.inference.onnx_model import OnnxModel
from reprolens.models import load_trained
from reprolens.sweeps.record import Status, Sweep, Trial, write_sweep, write_trial


@pytest.fixture(scope="session")
def weights(trained_of: Callable[[str], Repository]) -> Path:
    return trained_of("fcos_mobilenet_v2").weights


@pytest.fixture(scope="session")
def experiments(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    """Return a repository with the tags `bare` (no model), `weights` (weights alone), `exported` and `foreign` (both,
    but the exported one is not this version's), the experiment `named-one` and the trials good/0 and good/1.
    """
    from dvc.repo import Repo

    root = tmp_path_factory.mktemp("detectors") / "repository"
    root.mkdir()

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    def commit(tag: str, *folders: str) -> None:
        if folders:
            with Repo(str(root)) as repo:
                repo.add([str(root / folder) for folder in folders])
        git("add", "-A")
        git("commit", "-qm", tag)
        git("tag", tag)

    git("init", "-q")
    git("config", "user.name", "test")
    git("config", "user.email", "test@localhost")
    Repo.init(str(root)).close()
    (root / ".gitignore").write_text("/multirun/\n")
    commit("bare")
    (root / "weights").mkdir()
    shutil.copy(weights, root / "weights" / "model.pt")
    commit("weights", "weights/model.pt")
    write_colours(root / "export" / "model.onnx")
    commit("exported", "export")
    (root / "export" / "model.onnx").unlink()
    (root / "export" / "model.onnx").write_bytes(b"of another version")
    commit("foreign", "export")
    commit_of_one = git("rev-parse", "bare")
    git("update-ref", f"refs/exps/{commit_of_one[:2]}/{commit_of_one[2:]}/named-one", "exported")
    shutil.rmtree(root / "export")
    sweep = root / "multirun" / "good"
    write_sweep(sweep, Sweep("good", ("lr=1,2",), ("coco/ap",), ("maximize",), (0, 1), 2, "t", "b", "c", 0.0))
    for number in (0, 1):
        write_trial(sweep, Trial(number, f"{number:08}", {"lr": number}, Status.done, experiment=f"exp-{number}"))
    write_colours(sweep / "0" / "export" / "model.onnx", model="of-trial-0")
    (sweep / "1" / "weights").mkdir()
    shutil.copy(weights, sweep / "1" / "weights" / "model.pt")
    return root


@pytest.fixture
def root(experiments: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in the repository, as a user does."""
    monkeypatch.chdir(experiments)
    yield Path()


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("exported", OnnxModel, r"exported, commit \w{8}, export/model.onnx"),
        ("named-one", OnnxModel, r"named-one, commit \w{8}, export/model.onnx"),
        ("weights~0", TorchModel, r"weights~0, commit \w{8}, weights/model.pt"),
        ("foreign", TorchModel, r"foreign, commit \w{8}, weights/model.pt"),
        ("HEAD~1", OnnxModel, r"HEAD~1, commit \w{8}, export/model.onnx"),
        ("good/0", OnnxModel, "trial good/0, export/model.onnx"),
        ("exp-0", OnnxModel, "trial good/0, export/model.onnx"),
        ("multirun/good/0", OnnxModel, "multirun/good/0/export/model.onnx"),
        ("good/1", TorchModel, "trial good/1, weights/model.pt"),
        (".", TorchModel, "weights/model.pt"),
        ("workspace", TorchModel, "weights/model.pt"),
        ("weights/model.pt", TorchModel, "weights/model.pt"),
        ("multirun/good/0/export/", OnnxModel, "multirun/good/0/export/model.onnx"),
        ("multirun/good/0/export/model.onnx", OnnxModel, "multirun/good/0/export/model.onnx"),
    ],
)
def test_every_kind_of_name_is_found_and_said(root: Path, name: str, kind: type, said: str) -> None:
    detector = find_detector(root, name)
    assert isinstance(detector.model, kind)
    assert re.fullmatch(said, detector.said), detector.said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bare", "bare: has neither export/model.onnx nor weights/model.pt; dvc repro export"),
        ("exportet", "exportet: no such file, folder, trial .* or Git revision; did you mean exported"),
        ("good/7", "good/7: .*did you mean good/"),
        ("", "an empty name"),
        ("absent.onnx", "absent.onnx: there is no such file"),
        ("weights/absent.pt", "weights/absent.pt: there is no such file"),
        ("README.md", "README.md: is no model; taken are .onnx, "),
        ("multirun", "multirun: holds no exported model"),
        ("broken.onnx", "broken.onnx: onnxruntime cannot load it"),
        ("broken.pt", "broken.pt: "),
        ("--all", "--all: no such"),
    ],
)
def test_wrong_names_are_one_line(root: Path, name: str, said: str) -> None:
    for file in ("README.md", "broken.onnx", "broken.pt"):
        Path(file).write_text("no model")
    with pytest.raises(ReprolensError, match=said) as error:
        find_detector(root, name)
    assert "\n" not in str(error.value)


def test_what_exists_as_a_path_goes_before_a_revision(root: Path) -> None:
    write_colours(Path("weights-of-a-file.onnx"))
    Path("exported").symlink_to("multirun/good/0/export")
    try:
        assert find_detector(root, "exported").model.contract.model == "of-trial-0"
    finally:
        Path("exported").unlink()
    assert find_detector(root, "exported").model.contract == CONTRACT


def test_a_models_problem_is_told_by_the_name_that_the_user_gave(root: Path) -> None:
    weights = Path("multirun/good/1/weights/model.pt")
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(ConfigError, match=r"^good/1, weights/model.pt: "):
            find_detector(root, "good/1")
    finally:
        weights.write_bytes(whole)


def test_nothing_of_a_revision_is_left_behind(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = find_detector(root, "exported").model(np.full((1, 4, 4, 3), 255, np.uint8))
    assert len(found[0]) == 3 and list(tmp_path.iterdir()) == []


def test_weights_say_what_they_are_and_find_what_the_trained_module_finds(
    weights: Path, scene: Callable[[int, int], Image.Image]
) -> None:
    import torch

    trained = load_trained(weights)
    model = find_detector(Path(), str(weights)).model
    assert model.contract.classes == trained.classes and model.contract.batch is None
    assert model.contract.score_threshold == trained.options.score_threshold
    images = np.stack([np.asarray(scene(90, 70)), np.asarray(scene(90, 70))[::-1]])
    for pixels, found in zip(images, model(images), strict=True):
        with torch.inference_mode():
            expected = trained.module([torch.tensor(pixels.copy()).permute(2, 0, 1).float() / 255])[0]
        assert isinstance(found, Found) and len(found) > 3
        assert np.abs(found.boxes - expected["boxes"].numpy()).max() < 1e-2
        assert (found.labels == expected["labels"].numpy() - 1).all()
        assert (np.diff(found.scores) <= 0).all() and found.labels.dtype == np.int64


def test_without_torch_weights_are_refused_in_one_line(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "reprolens.models" or name.startswith("reprolens.models.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match="weights need the whole of reprolens, and torch is not installed"):
        find_detector(Path(), str(weights))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 2**30, 2**30, 3), r"\(.*can't allocate memory.*\); take a smaller --batch$"),  # more than can be addressed
        ((1, 8, 8, 4), r"\(The size of tensor a [^;]*\)$"),
    ],
)
def test_what_torch_cannot_run_ends_in_one_line(shape: tuple[int, ...], said: str, weights: Path) -> None:
    model = find_detector(Path(), str(weights)).model
    with pytest.raises(ExportError, match=f"^fcos_mobilenet_v2: torch cannot run it {said}") as error:
        model(np.broadcast_to(np.uint8(0), shape))
    assert "\n" not in str(error.value)
