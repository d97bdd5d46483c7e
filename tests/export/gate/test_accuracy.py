"""The gate measures what the evaluate stage measures, and what a model that fails on a picture has cost no other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.gate.bench import Bench
from reprolens.config import Evaluate
from reprolens.errors import DataError, ExportError
from reprolens.evaluation.predict import evaluate_split
from reprolens.export.eager import TorchModel
from reprolens.export.gate.accuracy import measure, measure_each
from reprolens.export.gate.pictures import spread
from reprolens.inference.model import Found, Model, Pixels


class _Failing(Model):
    """Finds nothing, and fails from its third picture on, or gives a score that is no number."""

    def __init__(self, bench: Bench, score: float | None = None) -> None:
        self.contract, self.seen, self.score = bench.source.contract("onnx", None), 0, score

    def __call__(self, images: Pixels) -> list[Found]:
        self.seen += 1
        if self.score is not None:
            return [Found(np.ones((1, 4), np.float32), np.array([self.score], np.float32), np.zeros(1, np.int64))]
        if self.seen > 2:
            raise RuntimeError("out of memory\nand more")
        return [Found(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))]


def test_the_gate_measures_what_the_evaluate_stage_measures(bench: Bench) -> None:
    measured = measure(TorchModel(bench.source.trained), bench.source.folder, "test")
    options = Evaluate("test", 4, 0.5, 0, 4, 2, 4, 4)
    metrics = evaluate_split(bench.source.trained, bench.source.folder, options, 1)[0].metrics
    assert set(measured) == {"voc12/map50", "coco/ap"}
    for key, value in measured.items():
        assert value is not None
        # The loader decodes and resizes in 8 bits, the model itself in floats: a grey level, a tenth of a pixel.
        assert value == pytest.approx(metrics[key], abs=0.05), key
        assert value > 0.5


def test_fewer_pictures_are_spread_over_the_split(bench: Bench) -> None:
    folder = bench.source.folder
    ids = folder.splits["test"]
    assert spread(folder, "test") == spread(folder, "test", 1000) == list(ids)
    assert spread(folder, "test", 3) == [ids[0], ids[2], ids[5]]
    few = replace(folder, splits={**folder.splits, "test": (ids[0], ids[2], ids[5])})
    reference = TorchModel(bench.source.trained)
    assert measure(reference, folder, "test", limit=3) == measure(reference, few, "test")


def test_one_that_fails_costs_the_others_nothing(bench: Bench) -> None:
    folder, reference = bench.source.folder, TorchModel(bench.source.trained)
    models = {"bad": _Failing(bench), "good": reference, "nan": _Failing(bench, np.nan)}
    scores, reasons = measure_each(models, folder, "test")
    first, _, third = folder.splits["test"][:3]
    assert reasons == {
        "bad": f"fails on picture {third}: out of memory",
        "nan": f"fails on picture {first}: gives a score that is no finite number",
    }
    assert scores == {"good": measure(reference, folder, "test")}
    with pytest.raises(ExportError, match=r"out of memory$"):
        measure(_Failing(bench), folder, "test")


def test_damaged_data_is_the_datas_fault_not_a_models(bench: Bench, tmp_path: Path) -> None:
    folder = replace(bench.source.folder, root=tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        measure(TorchModel(bench.source.trained), folder, "test")
