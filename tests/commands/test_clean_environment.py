"""An exported folder is used where nothing is installed but numpy, Pillow and onnxruntime, with what those ask for."""

import json
import subprocess
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

from colours import write_colours
from reprolens.commands.predict import WRITE

SOURCE = Path(__file__).parents[2] / "src"
INSTALLED = ("numpy", "pillow", "onnxruntime")
MISSING = ("torch", "torchvision", "rich", "omegaconf", "hydra", "lxml", "msgspec", "yaml", "matplotlib", "dvc", "onnx")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Python of an environment of its own, into which the files of those packages alone are linked."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, symlinks=True, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    for package in _closure(INSTALLED):
        for file in package.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(str(package.locate_file(top))).resolve())
    (site / "reprolens.pth").write_text(f"{SOURCE}\n")
    return home / "bin" / "python"


def _closure(names: tuple[str, ...]) -> Iterator[Distribution]:
    """Yield packages and all that they need, as an installer would find it."""
    waiting, known = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name in known:
            continue
        known.add(name)
        try:
            package = distribution(name)
        except PackageNotFoundError:  # which this Python or system does not need
            continue
        yield package
        needed = map(Requirement, package.requires or ())
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with export/model.onnx and pictures, and no repository."""
    write_colours(tmp_path / "export" / "model.onnx")
    (tmp_path / "pictures").mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (60, 40), name).save(tmp_path / "pictures" / f"{name}.jpg")
    return tmp_path


def run(python: Path, here: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/nowhere", "HOME": str(here), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([python, "-I", *arguments], cwd=here, env=environment, capture_output=True, text=True)


def reprolens(python: Path, here: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(python, here, "-m", "reprolens", *arguments)


def test_nothing_else_is_installed_there(python: Path, here: Path) -> None:
    program = f"import importlib.util\nprint([name for name in {MISSING} if importlib.util.find_spec(name)])"
    assert run(python, here, "-c", program).stdout == "[]\n"
    assert run(python, here, "-c", "import torch").returncode == 1
    assert run(python, here, "-c", "import numpy, PIL, onnxruntime").returncode == 0


def test_predict_writes_every_format_from_the_exported_folder_alone(python: Path, here: Path) -> None:
    done = reprolens(python, here, "predict", "export", "pictures", "--write", ",".join(WRITE))
    assert (done.returncode, done.stderr) == (0, "predict: export is export/model.onnx\n")
    assert done.stdout.startswith("predict: 2 pictures, 2 detections (2 drawn")
    out = here / "predictions"
    content = json.loads((out / "coco.json").read_text())
    assert [row["category_id"] for row in content["annotations"]] == [3, 1]
    assert (out / "Annotations" / "red.xml").is_file() and (out / "labels" / "red.txt").is_file()
    assert Image.open(out / "images" / "red.jpg").size == (60, 40)
    assert len((out / "predictions.csv").read_text().splitlines()) == 3


def test_candidates_become_detections_there_too(python: Path, here: Path) -> None:
    write_colours(here / "raw" / "model.onnx", postprocess=False)
    done = reprolens(python, here, "predict", "raw", "pictures", "--json", "-")
    assert done.returncode == 0
    found = [json.loads(line)["detections"] for line in done.stdout.splitlines()]
    assert [[one["label"] for one in picture] for picture in found] == [["blue"], ["red"]]


def test_unreadable_pictures_end_in_status_1(python: Path, here: Path) -> None:
    (here / "pictures" / "bad.png").write_text("no picture")
    done = reprolens(python, here, "predict", "export/model.onnx", "pictures")
    assert done.returncode == 1 and done.stderr == "pictures/bad.png: does not decode (no known image format)\n"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("weights.pt", "torch is not installed"),
        ("model.pt2", "needs torch"),
        ("model.xml", "needs openvino"),
        ("HEAD", "trials and revisions need the whole of reprolens"),
    ],
)
def test_what_needs_more_is_refused_in_one_line(model: str, words: str, python: Path, here: Path) -> None:
    if "." in model:
        (here / model).touch()
    done = reprolens(python, here, "predict", model, "pictures")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and words in done.stderr


def test_a_video_asks_for_what_decodes_it(python: Path, here: Path) -> None:
    (here / "film.mp4").touch()
    done = reprolens(python, here, "predict", "export/model.onnx", "film.mp4")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "pip install av" in done.stderr


def test_help_lists_predict(python: Path, here: Path) -> None:
    assert "predict" in reprolens(python, here, "--help").stdout
    assert "Exit status" in reprolens(python, here, "predict", "--help").stdout
