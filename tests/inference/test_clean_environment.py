"""Exported models run where nothing of Reprolens's is installed but what they need."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SOURCE = Path(__file__).parents[2] / "src"
NEEDED = ("numpy", "PIL", "onnxruntime")
BESIDE = ("numpy.libs", "pillow.libs", "onnxruntime.libs", "flatbuffers", "google", "packaging")
"""What these three packages bring with them."""

ALL_MODULES = """
import importlib, pkgutil, sys
import reprolens.inference as package
for entry in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if entry.name.rpartition(".")[2] not in ("openvino_model", "torch_model"):
        importlib.import_module(entry.name)
"""

PREDICT = """
import json, sys
from pathlib import Path
from reprolens.inference.load import load_model
from reprolens.inference.predict import predict
from reprolens.inference.sources import find_pictures
from reprolens.progress import track
model, sources = load_model(Path(sys.argv[1])), find_pictures(sys.argv[2:])
print(json.dumps({seen.name: seen.found.labels.tolist() for seen in track(predict(model, sources, 8), "pictures")}))
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Return what runs a program where only the needed packages can be imported, and gives what it prints."""
    folder = tmp_path / "packages"
    folder.mkdir()
    for name in NEEDED:
        found = importlib.util.find_spec(name)
        assert found is not None
        assert found.origin is not None
        (folder / name).symlink_to(Path(found.origin).parent)
        for other in BESIDE:
            place = Path(found.origin).parents[1] / other
            if place.exists() and not (folder / other).exists():
                (folder / other).symlink_to(place)

    def give(program: str, *arguments: object) -> str:
        command = [sys.executable, "-S", "-c", program, *map(str, arguments)]
        environment = {"PYTHONPATH": f"{folder}:{SOURCE}", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return give


@pytest.mark.parametrize("package", ["torch", "rich", "lxml", "omegaconf", "onnx", "av", "hydra"])
def test_environment_is_clean(run: Callable[..., str], package: str) -> None:
    assert run(f"import importlib.util; print(importlib.util.find_spec({package!r}))") == "None\n"


def test_every_module_is_imported(run: Callable[..., str]) -> None:
    assert run(ALL_MODULES) == ""


@pytest.mark.parametrize("postprocess", [True, False])
def test_pictures_are_predicted(
    run: Callable[..., str], write_colours: Callable[..., Path], tmp_path: Path, postprocess: bool
) -> None:
    (tmp_path / "in").mkdir()
    for number, name in enumerate(("red.png", "green.jpg", "blue.webp")):
        pixels = np.zeros((8, 8, 3), np.uint8)
        pixels[..., number] = 255
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    model = write_colours("export/model.onnx", postprocess=postprocess)
    said = run(PREDICT, model.parent, tmp_path / "in")
    assert json.loads(said) == {"blue.webp": [2], "green.jpg": [1], "red.png": [0]}


@pytest.mark.parametrize(("suffix", "package"), [(".xml", "openvino"), (".pt2", "torch")])
def test_runtime_that_is_not_installed_is_named(
    run: Callable[..., str], tmp_path: Path, suffix: str, package: str
) -> None:
    path = tmp_path / f"model{suffix}"
    path.touch()
    program = (
        "import sys; from pathlib import Path; from reprolens.errors import ExportError\n"
        "from reprolens.inference.load import load_model\n"
        "try: load_model(Path(sys.argv[1]))\n"
        "except ExportError as error: print(error)"
    )
    assert run(program, path) == f"{path}: needs {package}: pip install {package}\n"


def test_video_without_its_extra_is_refused(run: Callable[..., str], tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from reprolens.errors import ExportError\n"
        "from reprolens.inference.video import read_frames\n"
        "try: next(read_frames(Path(sys.argv[1])))\n"
        "except ExportError as error: print(error)"
    )
    assert run(program, tmp_path / "film.mp4") == "videos need the extra video: pip install av\n"
