"""Weights of the Hugging Face hub: the library's own detectors say what they say, under our names."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.saying import NOTHING, names
from reprolens.config import Model, Published
from reprolens.errors import WeightsError
from reprolens.models import build
from reprolens.models.weights import published_weights
from reprolens.models.weights.hub import hub_weights

pytest.importorskip("transformers", reason="the extra transformers is not installed")

CLASSES = ("ant", "bee", "cat")
Options = Callable[..., Model]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that puts the library's model of `name` into a hub cache of its own, as `hf/them/NAME`."""
    import huggingface_hub.constants
    from safetensors.torch import load_file, save_file

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)

    def put(name: str, options: Options, classes: tuple[str, ...] = CLASSES) -> Any:
        detector: Any = build(options(name), len(classes))
        config = copy.deepcopy(detector.head.config)
        config.id2label = dict(enumerate(classes))
        config.num_queries = 300
        torch.manual_seed(8)
        library: Any = detector.library(config)
        for module in library.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                for value in (module.weight.data, module.get_buffer("running_mean"), module.get_buffer("running_var")):
                    value.uniform_(0.5, 1.5)
        repository = tmp_path / f"models--them--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("abc123")
        folder = repository / "snapshots" / "abc123"
        library.save_pretrained(folder)
        # the published ones had their BatchNorms frozen, which do not count batches
        tensors = load_file(folder / "model.safetensors")
        few = {key: value for key, value in tensors.items() if "num_batches" not in key or "backbone" not in key}
        assert len(few) < len(tensors)
        save_file(few, folder / "model.safetensors", {"format": "pt"})
        return library.eval()

    return put


@pytest.mark.parametrize("name", ["rtdetr_v2_r18", "dfine_n"])
def test_weights_of_the_hub_say_what_the_librarys_model_says(
    name: str, publish: Callable[..., Any], options: Options
) -> None:
    library = publish(name, options)
    state, classes, file = hub_weights(f"hf/them/{name}", options(name))
    assert (classes, file.name) == (CLASSES, "model.safetensors")
    model: Any = build(options(name), 3).eval()
    model.load_state_dict(state)
    pictures = torch.rand(2, 3, 224, 288, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = library(pictures)
        boxes, scores = model.decode(model.raw(pictures), (224, 288))
    torch.testing.assert_close(scores, outputs.logits.sigmoid())
    centers = outputs.pred_boxes[..., :2] * torch.tensor([288, 224])
    torch.testing.assert_close((boxes[..., :2] + boxes[..., 2:]) / 2, centers, atol=1e-3, rtol=0)


def test_a_repository_without_class_names_gives_none(publish: Callable[..., Any], options: Options) -> None:
    publish("dfine_n", options, ("LABEL_0", "LABEL_1"))
    assert hub_weights("hf/them/dfine_n", options("dfine_n"))[1] == ()


def test_weights_of_another_model_are_refused_by_name(publish: Callable[..., Any], options: Options) -> None:
    publish("dfine_n", options)
    for name in ("dfine_s", "rtdetr_v2_r18"):
        with pytest.raises(WeightsError, match=rf"^pretrain\.weights: hf/them/dfine_n is .*{name}$"):
            hub_weights("hf/them/dfine_n", options(name))


def test_a_repository_that_cannot_be_had_is_one_clear_line(
    publish: Callable[..., Any], options: Options, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"^hf/them/none: config.json cannot be had from") as error:
        hub_weights("hf/them/none", options("dfine_n"))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("weights", ["hf/them/none", "timm/repvgg_a0"])
def test_a_hub_that_does_not_answer_is_asked_once_and_in_silence(
    weights: str,
    options: Options,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens on port 9
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    name = "dfine_n" if weights.startswith("hf/") else "fcos_mobilenet_v2"
    choice = options(name, backbone=None if name == "dfine_n" else "repvgg_a0")
    with pytest.raises(WeightsError) as error:
        published_weights(Published("published", weights, NOTHING), choice)
    names(str(error.value), weights, "http://127.0.0.1:9: Connection refused", tmp_path)
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False
    assert (caplog.records, capfd.readouterr()) == ([], ("", ""))


@pytest.mark.parametrize("damaged", ["config.json", "model.safetensors"])
def test_a_damaged_file_of_the_hub_is_one_clear_line(
    damaged: str, publish: Callable[..., Any], options: Options, tmp_path: Path
) -> None:
    publish("dfine_n", options)
    next(tmp_path.rglob(damaged)).write_bytes(b"{}")
    with pytest.raises(WeightsError, match=damaged):
        hub_weights("hf/them/dfine_n", options("dfine_n"))
