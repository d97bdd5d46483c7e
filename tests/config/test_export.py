"""The export's knobs: what cannot be meant is refused, and every choice of the menu makes other files."""

from dataclasses import replace
from pathlib import Path

import pytest

from reprolens.config import Export, ExportFormat
from reprolens.config.compose import compose
from reprolens.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def export() -> Export:
    return compose(ROOT).export


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("formats", []),
        ("formats", [ExportFormat.onnx, ExportFormat.onnx]),
        ("opset", 17),
        ("opset", 24),
        ("calibration_images", 0),
    ],
)
def test_a_value_out_of_bounds_is_named(key: str, value: object, export: Export) -> None:
    with pytest.raises(ConfigError, match=rf"^export\.{key}: "):
        replace(export, **{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [("images", 0), ("box_tolerance", 0.0), ("score_tolerance", -1.0), ("timed_runs", 1), ("throughput_batch", 0)],
)
def test_a_value_of_the_gate_out_of_bounds_is_named(key: str, value: float, export: Export) -> None:
    with pytest.raises(ConfigError, match=rf"^export\.gate\.{key}: "):
        replace(export.gate, **{key: value})


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_drop_is_a_share(precision: str, export: Export) -> None:
    for value in (-0.1, 1.1):
        with pytest.raises(ConfigError, match=rf"^export\.gate\.max_drop\.{precision}: "):
            replace(export.gate.max_drop, **{precision: value})


def test_the_menu_goes_from_one_file_to_all_of_them() -> None:
    formats = [compose(ROOT, [f"export={choice}"]).export.formats for choice in ("onnx", "int8", "all")]
    assert formats == [[ExportFormat.onnx], [ExportFormat.onnx, ExportFormat.onnx_int8], list(ExportFormat)]


def test_a_format_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"export\.formats.*tflite.*onnx, onnx_float16"):
        compose(ROOT, ["export.formats=[tflite]"])
