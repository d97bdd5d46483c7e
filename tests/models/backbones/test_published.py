"""The published weights of a backbone and what they expect."""

import pytest
import torch
from torchvision.models import get_weight

from reprolens.errors import ConfigError
from reprolens.models.backbones import preprocessing_of, published
from reprolens.models.preprocessing import IMAGENET, Preprocessing

HALVES = Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("resnet50", "ResNet50_Weights.IMAGENET1K_V2"),
        ("vgg16_bn", "VGG16_BN_Weights.IMAGENET1K_V1"),
        ("repvgg_a0", "timm/repvgg_a0"),
        ("timm/resnet50", "timm/resnet50"),
        ("resnet50.a1_in1k", "timm/resnet50.a1_in1k"),
    ],
)
def test_published_weights_have_their_publishers_name(name: str, weights: str) -> None:
    assert published(name) == weights
    if not weights.startswith("timm/"):
        assert str(get_weight(weights)) == weights


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet50", IMAGENET), ("repvgg_a0", IMAGENET), ("googlenet", HALVES), ("timm/inception_v4", HALVES)],
)
def test_preprocessing_is_that_of_the_published_weights(name: str, expected: Preprocessing) -> None:
    assert preprocessing_of(name) == expected


def test_a_googlenet_body_sees_of_a_picture_what_torchvisions_classifier_sees() -> None:
    from torchvision.models import googlenet

    classifier = googlenet(weights=None, init_weights=False, aux_logits=False, transform_input=True)
    picture = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(preprocessing_of("googlenet")(picture), classifier._transform_input(IMAGENET(picture)))


@pytest.mark.parametrize("question", [published, preprocessing_of])
def test_of_an_unknown_network_nothing_is_known(question: object) -> None:
    assert callable(question)
    with pytest.raises(ConfigError, match=r"^model\.backbone: "):
        question("resnet51x")
