"""What calibration sees is what the file sees: pictures of the train split, evenly spread, as the network gets them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper, parser

from reprolens.errors import ExportError
from reprolens.export.calibration import HIGHEST, LOWEST, USUAL_LOW, by_channel, calibration_pixels, measure
from reprolens.export.source import Source
from reprolens.loading import open_rgb

SourceOf = Callable[..., Source]


@pytest.fixture(scope="module")
def source(exported: Callable[[str], Any]) -> Source:
    return exported("fcos_mobilenet_v2").source


def test_pictures_of_the_train_split_come_evenly_as_the_network_gets_them(source: Source) -> None:
    folder = source.folder
    ids = folder.splits["train"]
    expected = [ids[0], ids[-1]]
    for pixels, id in zip(calibration_pixels(source, 2), expected, strict=True):
        picture = torch.from_numpy(np.array(open_rgb(folder, folder.record(id)))).permute(2, 0, 1) / 255
        resized, _ = source.trained.module.transform.resize(picture)
        assert pixels.shape == (1, *resized.shape)
        assert np.abs(pixels[0] - resized.numpy()).max() < 1e-4
    assert len(list(calibration_pixels(source, 1000))) == len(ids)


def test_no_other_split_is_looked_at(source: Source) -> None:
    splits = {name: ids if name == "train" else ("is not there",) for name, ids in source.folder.splits.items()}
    blind = replace(source, folder=replace(source.folder, splits=splits))
    assert len(list(calibration_pixels(blind, 3))) == 3


def test_a_data_set_without_pictures_to_train_on_is_refused(source: Source) -> None:
    empty = replace(source, folder=replace(source.folder, splits={**source.folder.splits, "train": ()}))
    with pytest.raises(ExportError, match="the train split has no pictures to calibrate with"):
        next(calibration_pixels(empty, 3))


def test_the_numbers_measured_are_those_of_each_picture() -> None:
    text = """network (float[1, 3, 2, 2] pixels) => (float[1, 3, 2, 2] out) {
        twice = Add (pixels, pixels)
        size = Shape (twice)
        out = Neg (twice)
    }"""
    model = helper.make_model(parser.parse_graph(text), ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    pictures = [np.random.default_rng(seed).standard_normal((1, 3, 2, 2)).astype(np.float32) for seed in range(4)]
    seen = measure(model, ["twice", "size", "out"], pictures)
    assert set(seen) == {"twice", "out"}  # a shape is not quantised
    for row, pixels in zip(seen["out"], pictures, strict=True):
        assert (row[LOWEST], row[HIGHEST]) == ((-2 * pixels).min(), (-2 * pixels).max())
        assert row[LOWEST] <= row[USUAL_LOW] <= 0
        assert (np.diff(row) >= 0).all() or row[USUAL_LOW] < row[LOWEST + 1]


@pytest.mark.parametrize(("shape", "channels"), [((2, 5, 3, 4), 5), ((2, 7, 6), 6), ((2, 6), 6), ((4,), 1)])
def test_channels_are_the_second_axis_of_maps_and_the_last_of_others(shape: tuple[int, ...], channels: int) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert by_channel(values).shape == (channels, values.size // channels)
