"""A layer that 8 bits ruin is found, told from the others, and left in float."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from reprolens.export.calibration import measure
from reprolens.export.int8 import choose_floats
from reprolens.export.layers import find_layers
from reprolens.export.quantisation import (
    Range,
    channel_noise,
    choose_ranges,
    in_8_bits,
    layers_left,
    prepare,
    quantise,
)
from reprolens.export.sensitivity import ends, noise, rank

CHANNELS = 6
PICTURES = [np.random.default_rng(seed).random((1, 3, 16, 16), dtype=np.float32) for seed in range(2)]


def _network(bad: str | None) -> ModelProto:
    """Return five convolutions; two channels of what the `bad` one takes are 10,000 times as large as the others.

    In float that changes nothing, because it makes as little of them.
    """
    generator = np.random.default_rng(3)
    names = ["first", "second", "third", "fourth", "last"]
    weights = {}
    for place, name in enumerate(names):
        given = 3 if place == 0 else CHANNELS
        weights[name] = generator.standard_normal((CHANNELS, given, 3, 3)).astype(np.float32) / (given * 9) ** 0.5
    if bad is not None:
        weights[names[names.index(bad) - 1]][:2] *= 1e4
        weights[bad][:, :2] /= 1e4
    nodes, tensor = [], "pixels"
    for name in names:
        nodes.append(helper.make_node("Conv", [tensor, f"{name}.weight"], [f"{name}_out"], name=name, pads=[1] * 4))
        tensor = f"{name}_out"
        if name != "last":
            nodes.append(helper.make_node("Relu", [tensor], [f"{name}_relu"], name=f"{name}_relu"))
            tensor = f"{name}_relu"
    nodes.append(helper.make_node("Sigmoid", [tensor], ["scores"], name="decode"))
    shapes = [("pixels", [1, 3, 16, 16]), ("scores", [1, CHANNELS, 16, 16])]
    given_value, output = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes)
    graph = helper.make_graph(
        nodes,
        "network",
        [given_value],
        [output],
        [numpy_helper.from_array(weight, f"{name}.weight") for name, weight in weights.items()],
    )
    return prepare(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]))


def _ranges(network: ModelProto) -> dict[str, Range]:
    tensors = [name for node in network.graph.node for name in (*node.input, *node.output)]
    return choose_ranges(network, measure(network, sorted(set(tensors)), PICTURES), PICTURES)


@pytest.mark.parametrize("bad", ["second", "fourth"])
def test_the_layer_that_8_bits_ruin_is_ranked_worst_and_left_in_float(bad: str) -> None:
    network = _network(bad)
    ranges = _ranges(network)
    ranking = rank(network, ranges, PICTURES)
    assert ranking[0][0].name == bad
    assert ranking[0][1] > 5 * ranking[1][1]

    def drop(floats: Any) -> float:
        return noise(network, quantise(network, ranges, floats), PICTURES)

    assert drop(()) > 0.1
    floats, _ = choose_floats(drop, lambda: [layer.name for layer, _ in ranking], 0.02)
    assert floats == (bad,)
    names = [layer.name for layer in find_layers(network.graph)]
    giver = names[names.index(bad) - 1]  # out of 8 bits its numbers would be no better
    assert layers_left(network.graph, floats) == [giver, bad]


def test_layers_that_8_bits_suit_make_little_noise_alone_and_together() -> None:
    network = _network(None)
    ranges = _ranges(network)
    alone = [found for _, found in rank(network, ranges, PICTURES)]
    together = noise(network, quantise(network, ranges), PICTURES)
    assert 0 < min(alone) <= max(alone) <= together < 0.02
    assert noise(network, network, PICTURES) == 0


def test_what_is_compared_is_what_the_network_gives_before_it_is_decoded() -> None:
    assert ends(_network(None).graph) == ["last_out"]


def test_a_class_that_is_never_found_does_not_cost_the_others_their_numbers() -> None:
    logits = np.random.default_rng(0).standard_normal((1, 11, 20, 20)).astype(np.float32)
    logits[:, 0] = -10_000
    rows = np.array([[logits.min(), logits.min(), -16, logits.max(), logits.max(), logits.max()]], dtype=np.float32)
    whole, usual = in_8_bits(logits, (rows[0, 0], rows[0, 5])), in_8_bits(logits, (rows[0, 2], rows[0, 3]))
    assert channel_noise(logits, usual) < 0.15 < 0.9 < channel_noise(logits, whole)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.floats(0, 1))
def test_no_more_layers_are_left_in_float_than_the_first_step_that_is_good_enough(
    drops: list[float], allowed: float
) -> None:
    names = [f"layer {place}" for place in range(len(drops))]
    asked: list[int] = []

    def drop(floats: Any) -> float:
        asked.append(len(floats))
        return drops[len(floats)]

    floats, lost = choose_floats(drop, lambda: names, allowed)
    assert floats == tuple(names[: len(floats)])
    assert lost == drops[len(floats)]
    half = len(names) // 2
    assert asked == sorted(set(asked)) and asked[-1] <= half
    assert all(count in (0, half) or count & (count - 1) == 0 for count in asked)
    if lost <= allowed:
        assert len(floats) == asked[-1]  # it stopped there
    else:
        assert asked[-1] == half  # it tried as many as there may be
        assert lost == min(drops[count] for count in asked)  # nothing was good enough; this was the best
