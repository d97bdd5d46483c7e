"""Published weights: whose they are, what of them enters a backbone, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, mobilenet_v3_large, resnet18, resnet34, vgg16
from torchvision.models.detection import ssd300_vgg16, ssdlite320_mobilenet_v3_large

from models.saying import names, of_file
from models.saying import published as by_name
from reprolens.config import Channels, Expected, Model, Published
from reprolens.errors import WeightsError
from reprolens.files import sha256
from reprolens.models import build
from reprolens.models.preprocessing import IMAGENET, Preprocessing
from reprolens.models.registry import get
from reprolens.models.weights import (
    file_weights,
    load_starting_weights,
    published_weights,
    save_starting_weights,
)

DEFAULT = "fcos_mobilenet_v2"
AUTO = by_name("auto")
FILE = "mobilenet_v2-b0353104.pth"


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


@pytest.mark.parametrize("content", [b"", b"<html>no such file</html>"])
def test_a_damaged_published_file_is_refused_by_its_hash(
    content: bytes, hub: Path, options: Callable[..., Model]
) -> None:
    hub.mkdir(parents=True)
    (hub / FILE).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        published_weights(AUTO, options(DEFAULT))
    names(str(caught.value), hub / FILE, "damaged", "b0353104", "remove it")


@pytest.mark.parametrize("name", ["MobileNet_V2_Weights.IMAGENET1K_V7", "MobileNet_V2", "a.b.c", "No_Weights.V1"])
def test_a_name_that_torchvision_does_not_know_is_refused(name: str, options: Callable[..., Model]) -> None:
    with pytest.raises(WeightsError) as caught:
        published_weights(by_name(name), options(DEFAULT))
    names(str(caught.value), "pretrain.weights", name, "MobileNet_V2_Weights.IMAGENET1K_V1")


def test_a_name_that_timm_does_not_know_is_refused(options: Callable[..., Model]) -> None:
    with pytest.raises(WeightsError) as caught:
        published_weights(by_name("timm/no_such_network"), options(DEFAULT))
    names(str(caught.value), "timm/no_such_network")


def test_published_weights_of_another_backbone_are_refused(
    hub: Path, packaged: Path, options: Callable[..., Model]
) -> None:
    other = by_name("MobileNet_V2_Weights.IMAGENET1K_V1")
    with pytest.raises(WeightsError) as caught:
        published_weights(other, options("ssdlite320_mobilenet_v3_large"))
    names(str(caught.value), other.weights, "does not fit", "ssdlite320_mobilenet_v3_large")


def test_a_published_detector_gives_its_classes_by_torchvisionsnames(
    options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "ssdlite320_mobilenet_v3_large"
    published = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None)  # of COCO's 91 labels
    torch.save(published.state_dict(), tmp_path / "coco.pth")
    # The published file itself is not at hand, and no other has its hash; one of the same names and shapes stands in.
    monkeypatch.setattr("reprolens.models.weights.published.fetch", lambda url: tmp_path / "coco.pth")
    weights = published_weights(
        by_name("SSDLite320_MobileNet_V3_Large_Weights.COCO_V1"), options(name, image_size=[320, 320])
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


# ---- by order and by name into every kind of backbone


def _stands_in(state: dict[str, torch.Tensor], path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a file of the same names and shapes stand in for a published one that is not at hand: none has its hash."""
    torch.save(state, path)
    monkeypatch.setattr("reprolens.models.weights.published.fetch", lambda url: path)
    return path


def test_ssds_vgg_gets_what_torchvisions_own_builder_gives_it(
    hub: Path, options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in vgg16().state_dict().items()}
    nothing = torch.full((1,), torch.nan)  # as the file of this name has it for all but the features
    published = {
        key: torch.rand(shape) if key.startswith("features.") else nothing.expand(shape)
        for key, shape in shapes.items()
    }
    path = _stands_in(published, tmp_path / "vgg.pth", monkeypatch)
    hub.mkdir(parents=True)
    name = "vgg16_features-amdegroot-88682ab5.pth"  # as torchvision looks for it
    shutil.copyfile(path, hub / name)
    built = ssd300_vgg16(weights=None, weights_backbone="IMAGENET1K_FEATURES", num_classes=3).state_dict()
    weights = published_weights(AUTO, options("ssd300_vgg16"))
    assert len(weights.state) == len([key for key in published if key.startswith("features.")]) == 26
    assert [key for key, value in weights.state.items() if not torch.equal(built[key], value)] == []
    assert weights.preprocessing == Preprocessing((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255))
    assert weights.origin["licence"] == get("ssd300_vgg16").weights_licence == "CC-BY-4.0"


def test_ssdlites_mobilenet_gets_what_torchvisions_own_builder_gives_it_as_far_as_it_is_the_same_network(
    hub: Path, options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _stands_in(mobilenet_v3_large().state_dict(), tmp_path / "mobilenet.pth", monkeypatch)
    hub.mkdir(parents=True)
    shutil.copyfile(path, hub / get_model_weights("mobilenet_v3_large").IMAGENET1K_V1.url.rpartition("/")[2])
    built = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone="IMAGENET1K_V1", num_classes=3).state_dict()
    choice = options("ssdlite320_mobilenet_v3_large")
    weights, own = published_weights(AUTO, choice), build(choice, 2).state_dict()
    assert [key for key, value in weights.state.items() if not torch.equal(built[key], value)] == []
    # torchvision halves the widths behind the last blocks where it is given no backbone weights
    same = [key for key in own if key.startswith("backbone.features.0") and own[key].shape == built[key].shape]
    assert set(same) <= set(weights.state)
    assert len(weights.state) == 252
    assert weights.preprocessing == IMAGENET  # SSDLite's own weights are of another one


def test_auto_is_the_backbone_that_the_configuration_names(
    hub: Path, options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _stands_in(resnet18().state_dict(), tmp_path / "resnet.pth", monkeypatch)
    choice = options(DEFAULT, backbone="resnet18")
    weights, published = published_weights(AUTO, choice), torch.load(path, weights_only=True)
    assert weights.origin["name"] == "ResNet18_Weights.IMAGENET1K_V1"
    body = {key for key in build(choice, 1).state_dict() if key.startswith("backbone.body.")}
    assert set(weights.state) == body
    assert all(
        torch.equal(value, published[key.removeprefix("backbone.body.")]) for key, value in weights.state.items()
    )


@pytest.mark.parametrize(
    ("published", "backbone"), [(resnet18, "resnet34"), (resnet34, "resnet18"), (resnet18, "resnet50")]
)
def test_a_relative_of_the_backbone_is_refused_though_many_of_its_layers_are_alike(
    published: Callable[[], torch.nn.Module],
    backbone: str,
    options: Callable[..., Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _stands_in(published().state_dict(), tmp_path / "resnet.pth", monkeypatch)
    with pytest.raises(WeightsError, match="does not fit the backbone of fcos_resnet50_fpn"):
        published_weights(by_name("ResNet18_Weights.IMAGENET1K_V1"), options("fcos_resnet50_fpn", backbone=backbone))


def test_timms_weights_come_through_its_own_loader(
    options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub
    import timm
    from safetensors.torch import save_file

    source, facts = timm.create_model("repvgg_a0"), timm.get_pretrained_cfg("repvgg_a0")
    repository = tmp_path / f"models--{facts.hf_hub_id.replace('/', '--')}"  # as the hub's own client lays it out
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1" * 40)
    (repository / "snapshots" / ("1" * 40)).mkdir(parents=True)
    save_file(source.state_dict(), repository / "snapshots" / ("1" * 40) / "model.safetensors")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    choice = options(DEFAULT, backbone="repvgg_a0")
    weights = published_weights(AUTO, choice)
    body = {key for key in build(choice, 1).state_dict() if key.startswith("backbone.body.")}
    assert set(weights.state) == body
    prefix = "backbone.body.net."
    state = source.state_dict()
    assert all(torch.equal(value, state[key.removeprefix(prefix)]) for key, value in weights.state.items())
    assert weights.preprocessing == IMAGENET
    assert (weights.origin["publisher"], weights.origin["name"]) == ("timm", "timm/repvgg_a0")


# ---- torchvision's detectors as its files hold them: older names, BatchNorms without an epsilon


def _as_published(detector: nn.Module) -> dict[str, Tensor]:
    """Return a detector's tensors by the names of torchvision 0.4, whose files are still those that are published."""
    names = {
        "mask_head.{}.0.": "mask_head.mask_fcn{}.",
        "rpn.head.conv.0.0.": "rpn.head.conv.",
        "fpn.inner_blocks.{}.0.": "fpn.inner_blocks.{}.",
        "fpn.layer_blocks.{}.0.": "fpn.layer_blocks.{}.",
    }
    steps = [(now.format(i), old.format(i)) for now, old in names.items() if "mask" not in now for i in range(4)]
    steps += [(now.format(i), old.format(i + 1)) for now, old in names.items() if "mask" in now for i in range(4)]
    steps += [(f"_head.conv.{i}.0.", f"_head.conv.{2 * i}.") for i in (3, 2, 1, 0)]  # so that none is renamed twice
    state = {key: value for key, value in detector.state_dict().items() if not key.endswith("num_batches_tracked")}
    for now, old in steps:
        state = {key.replace(now, old): value for key, value in state.items()}
    assert set(state) - set(detector.state_dict())
    return state


def _with_small_variances(detector: nn.Module) -> nn.Module:
    """Let BatchNorms divide by so little that an epsilon of 1e-5 makes a difference, and a channel be dead."""
    with torch.no_grad():
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                module.running_var.uniform_(1e-5, 1e-3)
                module.running_var[0] = 1e-14
                module.weight.copy_(module.running_var.sqrt() * torch.rand(len(module.weight)))
    return detector


@pytest.fixture
def published_detector(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Published, Path, nn.Module]]:
    """Return a writer of files of torchvision's COCO_V1: (name) -> what asks for it, its path, the detector it makes.

    The detector comes through torchvision's own loader, which looks into the hub's cache by name alone.
    """

    def write(name: str) -> tuple[Published, Path, nn.Module]:
        torch.manual_seed(3)
        weights = get_model_weights(name).COCO_V1
        state = _as_published(_with_small_variances(get_model(name, weights=None, weights_backbone=None)))
        path = _stands_in(state, tmp_path / "coco.pth", monkeypatch)
        hub.mkdir(parents=True)
        shutil.copyfile(path, hub / weights.url.rpartition("/")[2])
        return by_name(str(weights)), path, get_model(name, weights=weights).eval()

    return write


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn"])
def test_torchvisions_published_detectors_enter_whole_and_give_what_its_own_loader_makes_of_them(
    name: str,
    published_detector: Callable[[str], tuple[Published, Path, nn.Module]],
    options: Callable[..., Model],
) -> None:
    config, _, theirs = published_detector(name)
    weights, ours = published_weights(config, options(name)), build(options(name), 90).eval()
    counters = {key for key in ours.state_dict() if key.endswith("num_batches_tracked")}
    assert set(weights.state) == set(ours.state_dict()) - counters
    ours.load_state_dict(weights.state, strict=False)
    loaded = theirs.state_dict()
    heads = [key for key in weights.state if not key.startswith("backbone.body.")]
    assert len(heads) > 20
    assert all(torch.equal(weights.state[key], loaded[key]) for key in heads)
    picture = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found, wanted = (detector.get_submodule("backbone")(picture) for detector in (ours, theirs))
    for level, features in wanted.items():
        torch.testing.assert_close(found[level], features, rtol=1e-4, atol=1e-4 * float(features.abs().max()))
    assert float(wanted["0"].std()) > 0


def test_a_file_of_torchvisions_detector_enters_whole_by_its_older_names(
    published_detector: Callable[[str], tuple[Published, Path, nn.Module]], options: Callable[..., Model]
) -> None:
    name = "retinanet_resnet50_fpn"
    _, path, theirs = published_detector(name)
    weights = file_weights(of_file(path), options(name))
    assert set(weights.state) == set(theirs.state_dict())
    assert all(torch.equal(value, weights.state[key]) for key, value in theirs.state_dict().items())


@pytest.mark.parametrize("backbone", ["resnet101", "wide_resnet50_2"])  # half of whose body has the same shapes
def test_a_published_detector_on_another_backbone_is_refused(
    backbone: str,
    published_detector: Callable[[str], tuple[Published, Path, nn.Module]],
    options: Callable[..., Model],
) -> None:
    config, _, _ = published_detector("retinanet_resnet50_fpn")
    with pytest.raises(WeightsError, match="does not fit the backbone of retinanet_resnet50_fpn"):
        published_weights(config, options("retinanet_resnet50_fpn", backbone=backbone))


def test_newer_detectors_of_torchvision_keep_their_batchnorms_as_they_are(
    options: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "retinanet_resnet50_fpn_v2"
    state = get_model(name, weights=None, weights_backbone=None).state_dict()
    _stands_in(state, tmp_path / "coco.pth", monkeypatch)
    weights = published_weights(by_name("RetinaNet_ResNet50_FPN_V2_Weights.COCO_V1"), options(name))
    assert weights.state.keys() == state.keys()
    assert all(torch.equal(value, weights.state[key]) for key, value in state.items())


# ---- what is known of them


def test_what_is_known_of_published_weights_cannot_be_said_otherwise(
    hub: Path, packaged: Path, options: Callable[..., Model]
) -> None:
    same = Expected(list(IMAGENET.mean), None, 1.0, Channels.RGB)
    assert published_weights(by_name("auto", same), options(DEFAULT)).preprocessing == IMAGENET
    with pytest.raises(WeightsError) as caught:
        published_weights(by_name("auto", Expected(None, None, 255.0, None)), options(DEFAULT))
    names(str(caught.value), "pretrain.expects.range", "MobileNet_V2_Weights.IMAGENET1K_V1 itself says 1")


def test_a_name_of_the_hub_is_for_models_of_the_hub(options: Callable[..., Model]) -> None:
    with pytest.raises(WeightsError) as caught:
        published_weights(by_name("hf/PekingU/rtdetr_v2_r18vd"), options(DEFAULT))
    names(str(caught.value), "hf/PekingU/rtdetr_v2_r18vd", f"{DEFAULT} is no model of the transformers library")
