"""What was exported wrongly does not pass, and the reason is said; what was exported well does."""

import copy
import io
import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper
from torch import nn

from export.gate.bench import Bench, quantised, reported, with_weights
from reprolens.config import ExportFormat
from reprolens.errors import ExportError
from reprolens.export.dense import fixed_part
from reprolens.export.gate.judge import judge
from reprolens.export.gate.verdict import Judgement
from reprolens.export.onnx import assemble, export_parts, write_onnx
from reprolens.export.source import Source
from reprolens.models.preprocessing import IMAGENET, Preprocessing
from reprolens.voc import Folder, read_folder, write_folder


@pytest.fixture(scope="module")
def judgement(bench: Bench) -> Judgement:
    """Return what is said of two good files beside one that lost its accuracy and one that is none."""
    float32 = bench.write(bench.good())
    openvino = bench.write(bench.good(ExportFormat.openvino))
    rough = quantised(bench.good(ExportFormat.onnx_int8), bits=3)
    torn = bench.write(bench.good(ExportFormat.onnx_float16))
    torn.write_bytes(torn.read_bytes()[:100_000])
    return bench.judge(
        {
            ExportFormat.onnx: float32,
            ExportFormat.onnx_int8: bench.write(rough),
            ExportFormat.onnx_float16: torn,
            ExportFormat.openvino: openvino,
        }
    )


def test_a_good_file_passes_with_torchs_numbers(judgement: Judgement) -> None:
    report = reported(judgement)
    assert report["published"] == ["onnx", "openvino"]
    for name in report["published"]:
        assert report[f"{name}/difference/unmatched"] == 0
        assert report[f"{name}/difference/matched"] > 50
        assert 0 < report[f"{name}/difference/box_relative"] < 1e-3
        assert 0 < report[f"{name}/difference/score_relative"] < 1e-3
        assert 0 < report[f"{name}/difference/candidate_box"] < 0.01
        assert 0 < report[f"{name}/difference/candidate_box_relative"] < 1e-3
        assert 0 < report[f"{name}/difference/candidate_score"] < 1e-4
        assert 0 < report[f"{name}/difference/candidate_score_relative"] < 1e-3
        assert report[f"{name}/drop/coco/ap"] == pytest.approx(0, abs=1e-3)
        assert report[f"{name}/coco/ap"] == pytest.approx(report["torch/coco/ap"], abs=1e-3)
    assert report["torch/coco/ap"] > 0.5  # the truth is what it finds


def test_the_report_is_flat_and_says_on_what_and_where_it_was_measured(judgement: Judgement, bench: Bench) -> None:
    report = json.loads(json.dumps(judgement.report(), allow_nan=False))
    assert not {"published", "rejected", "onnx/passed", "onnx/file"} & set(report)  # the export's to say
    common = {"split": "test", "images": 6, "opset": 20, "threads": 1, "batch": 2}
    assert {key: report[key] for key in common} == common
    assert report["cpu"]
    of_torch = {"voc12/map50", "coco/ap", "latency_ms/p50", "latency_ms/p95", "images_per_second", "peak_memory_mib"}
    assert {key.removeprefix("torch/") for key in report if key.startswith("torch/")} == of_torch
    size = report["onnx/size_mb"]
    assert size == pytest.approx(bench.good().ByteSize() / 1e6, abs=0.01)
    assert not [key for key, value in report.items() if isinstance(value, list | dict)]
    for key in of_torch:
        assert report[f"onnx/{key}"] > 0, key
    assert report["onnx/speedup"] == pytest.approx(report["torch/latency_ms/p50"] / report["onnx/latency_ms/p50"], 0.01)
    assert len(report["onnx/sha256"]) == 64


def test_the_accuracy_that_8_bits_lost_is_told(judgement: Judgement) -> None:
    [reason] = reported(judgement)["rejected"]["onnx_int8"].split("; ")[-1:]
    found = re.fullmatch(
        r"coco/ap falls by (\S+) to (\S+) on 6 test pictures, allowed is 0.02 \(export.gate.max_drop.int8\)", reason
    )
    assert found is not None
    report = reported(judgement)
    drop, score = map(float, found.groups())
    assert drop > 0.02
    assert (drop, score) == (
        pytest.approx(report["onnx_int8/drop/coco/ap"], 0.01),
        pytest.approx(report["onnx_int8/coco/ap"], abs=1e-3),
    )
    assert "differ" not in report["rejected"]["onnx_int8"]  # its numbers may


def test_a_truncated_file_does_not_pass_and_the_others_are_judged_all_the_same(judgement: Judgement) -> None:
    report = reported(judgement)
    assert list(report["rejected"]) == ["onnx_int8", "onnx_float16"]
    assert report["rejected"]["onnx_float16"].startswith("onnxruntime cannot load it")
    assert "/" not in report["rejected"]["onnx_float16"]  # no path of the machine
    assert report["onnx_float16/size_mb"] == 0.1
    assert "onnx_float16/coco/ap" not in report


def test_a_file_that_normalises_otherwise_does_not_pass(bench: Bench) -> None:
    parts = export_parts(_normalising_otherwise(bench.source))
    reasons = bench.verdict(assemble(parts, bench.source.contract("onnx", parts.batch))).reasons
    assert any(reason.startswith("candidates differ from torch's: score") for reason in reasons), reasons
    assert any(re.match(r"detections differ from torch's: \d+ have no partner", reason) for reason in reasons), reasons


def test_a_file_exported_in_training_mode_does_not_pass(bench: Bench) -> None:
    learning = copy.deepcopy(bench.source.trained.module).eval()
    for part in learning.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.train()
    parts = replace(bench.source.parts, network=_exported_by_tracing(learning), batch=1)
    reasons = bench.verdict(assemble(parts, bench.source.contract("onnx", 1)), batch=1).reasons
    assert "was exported in training mode: 11 BatchNormalization normalise by the batch" in reasons
    assert any("differ from torch's" in reason for reason in reasons), reasons


def test_a_file_with_unfolded_blocks_does_not_pass(source_of: Callable[..., Source], bench: Bench) -> None:
    source = source_of("fcos_mobilenet_v2", backbone="repvgg_a0")
    source.__dict__["network"] = copy.deepcopy(source.trained.module)  # neither folded nor fused
    parts = export_parts(source)
    del source.__dict__["network"]
    model = assemble(parts, source.contract("onnx", parts.batch))
    verdict = bench.verdict(model, trained=source.trained, folder=source.folder)
    [reason] = [reason for reason in verdict.reasons if "folded" in reason]
    count, right = map(
        int,
        re.fullmatch(r"has (\d+) convolutions, the folded network (\d+): its blocks are not folded", reason).groups(),
    )  # type: ignore[union-attr]
    assert count > right + 20
    assert verdict.facts["difference/unmatched"] == 0  # in numbers it is the model


def _moved(model: ModelProto) -> None:
    _behind(model, "dense_boxes", "Add", np.float32(2))


def _mislabelled(model: ModelProto) -> None:
    _behind(model, "labels", "Add", np.int64(1))


def _one_class_off(model: ModelProto) -> None:
    _behind(model, "labels", "Mod", np.int64(9))


def _not_a_number(model: ModelProto) -> None:
    _behind(model, "dense_scores", "Mul", np.float32(np.nan))


def _of_other_classes(model: ModelProto) -> None:
    _say(model, classes=[f"another {number}" for number in range(10)])


def _of_other_thresholds(model: ModelProto) -> None:
    _say(model, score_threshold=0.5)


def _of_other_weights(model: ModelProto) -> None:
    with_weights(model, lambda values: np.flip(values, 0))


def _without_counts(model: ModelProto) -> None:
    model.graph.output.pop()


def _with_dropout(model: ModelProto) -> None:
    node = helper.make_node("Dropout", ["pixels"], ["dropped"])
    model.graph.node.append(node)


def _of_16_bits(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(9, np.float16), "half"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_moved, r"candidates differ from torch's: box 2\.\d+ px, allowed is 0\.1 \(export\.gate\.box_tolerance\)"),
        (_mislabelled, r"gives label 10, but the model's classes go from 0 to 9"),
        (_one_class_off, r"detections differ from torch's: \d+ have no partner, \d+ have, allowed is \d"),
        (_not_a_number, r"candidates have numbers that are not finite"),
        (_of_other_classes, r"names other classes than the model has"),
        (
            _of_other_thresholds,
            r"says that its score_threshold is 0\.5, the model's is 0\.0\d+",
        ),
        (_of_other_weights, r"candidates differ from torch's: score"),
        (_without_counts, r"does not have the inputs and outputs that its metadata tell of"),
        (_with_dropout, r"was exported in training mode: it has 1 Dropout"),
        (_of_16_bits, r"is to be float32, but its numbers are float16"),
    ],
)
def test_a_broken_file_does_not_pass_and_the_reason_is_told(
    change: Callable[[ModelProto], None], reason: str, bench: Bench
) -> None:
    model = bench.good()
    change(model)
    verdict = bench.verdict(model)
    assert any(re.search(reason, line) for line in verdict.reasons), verdict.reasons
    assert not any("\n" in line or str(bench.folder) in line for line in verdict.reasons)


def test_the_tolerances_decide(bench: Bench) -> None:
    config = bench.source.config
    moved = bench.good()
    _behind(moved, "dense_boxes", "Add", np.float32(0.3))
    wide = replace(
        config, gate=replace(config.gate, box_tolerance=1.0, max_drop=replace(config.gate.max_drop, float32=1))
    )
    assert bench.verdict(moved, config=wide).passed
    strict = replace(config, gate=replace(config.gate, score_tolerance=1e-12))
    reasons = bench.verdict(bench.good(), config=strict).reasons
    assert any("allowed is 1e-12 (export.gate.score_tolerance)" in reason for reason in reasons)


def test_without_test_pictures_val_decides_and_without_both_nothing_can(bench: Bench) -> None:
    folder = bench.source.folder
    val = replace(folder, splits={**folder.splits, "test": ()})
    common = bench.judge({}, folder=val).common
    assert (common["split"], common["images"]) == ("val", len(folder.splits["val"]))
    with pytest.raises(ExportError, match="has no pictures in test or val to judge files on"):
        bench.judge({}, folder=replace(folder, splits=dict.fromkeys(folder.splits, ())))


def test_fewer_bits_do_not_pass_where_there_is_nothing_to_find(bench: Bench, tmp_path: Path) -> None:
    path = bench.write(quantised(bench.good(ExportFormat.onnx_int8)))
    report = reported(bench.judge({ExportFormat.onnx_int8: path}, folder=_without_objects(bench.source, tmp_path)))
    assert report["published"] == []
    assert report["rejected"] == {
        "onnx_int8": "nothing shows that int8 is good enough: the test pictures have no objects"
    }
    assert report["onnx_int8/drop/coco/ap"] is None


def test_a_model_that_finds_nothing_yet_is_compared_by_its_candidates(bench: Bench) -> None:
    weak = _of_high_threshold(bench.source)
    parts = weak.parts
    good = bench.write(assemble(parts, weak.contract("onnx", parts.batch)))
    normalised = _normalising_otherwise(weak)
    parts = normalised.parts
    bad = bench.write(assemble(parts, weak.contract("onnx", parts.batch)))
    for path, passes in ((good, True), (bad, False)):
        [verdict] = bench.judge({ExportFormat.onnx: path}, trained=weak.trained).verdicts
        assert verdict.facts["difference/matched"] == 0
        assert verdict.passed is passes, verdict.reasons
    assert any(reason.startswith("candidates differ from torch's: ") for reason in verdict.reasons)


@pytest.mark.parametrize("has_objects", [True, False])
def test_a_file_of_which_nothing_can_be_compared_does_not_pass(
    has_objects: bool, source_of: Callable[..., Source], tmp_path: Path
) -> None:
    source = source_of("fasterrcnn_mobilenet_v3_large_fpn", score_threshold=0.999)  # of two stages: no candidates
    if not has_objects:
        source = replace(source, folder=_without_objects(source, tmp_path / "voc"))
    path = tmp_path / "model.onnx"
    written = write_onnx(source, path)
    [verdict] = judge(source, {ExportFormat.onnx: path}, {ExportFormat.onnx: written}).verdicts
    assert verdict.reasons == (
        "nothing shows that float32 is good enough: the model finds nothing right in the test pictures, and there are "
        "no detections to compare",
    )


def test_a_model_that_itself_gives_no_numbers_is_refused_in_one_line(bench: Bench) -> None:
    module = copy.deepcopy(bench.source.trained.module)
    for parameter in module.parameters():
        parameter.data.fill_(np.nan)
    broken = replace(bench.source.trained, module=module)
    with pytest.raises(ExportError) as caught:
        bench.judge({}, trained=broken)
    assert "the trained model" in str(caught.value)
    assert "\n" not in str(caught.value)


def _normalising_otherwise(source: Source) -> Source:
    module = copy.deepcopy(source.trained.module)
    module.get_submodule("transform").preprocessing = Preprocessing((0.3, 0.3, 0.3), IMAGENET.std)  # type: ignore[assignment]
    return replace(source, trained=replace(source.trained, module=module))


def _of_high_threshold(source: Source) -> Source:
    """Return the model with a threshold that nothing reaches."""
    module: Any = copy.deepcopy(source.trained.module)
    module.score_threshold = 0.999
    options = replace(source.trained.options, score_threshold=0.999)
    return replace(source, trained=replace(source.trained, module=module, options=options))


def _without_objects(source: Source, root: Path) -> Folder:
    """Write a copy of the test pictures in which there is nothing to find."""
    folder = source.folder
    for record in folder.records("test"):
        target = root / "JPEGImages" / record.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(folder.image(record).read_bytes())
    records = [replace(record, objects=()) for record in folder.records("test")]
    write_folder(root, folder.classes, {"train": [], "val": [], "test": records})
    return read_folder(root)


def _behind(model: ModelProto, name: str, operator: str, value: Any) -> None:
    """Put an operator with a constant behind a tensor, in place."""
    [maker] = [node for node in model.graph.node if name in node.output]
    maker.output[list(maker.output).index(name)] = f"{name}/before"
    for node in model.graph.node:
        for place, given in enumerate(node.input):
            if given == name and node is not maker:
                node.input[place] = name
    model.graph.initializer.append(numpy_helper.from_array(np.array(value), f"{name}/value"))
    place = list(model.graph.node).index(maker) + 1
    model.graph.node.insert(place, helper.make_node(operator, [f"{name}/before", f"{name}/value"], [name]))


def _say(model: ModelProto, **changes: Any) -> None:
    """Change what a file says of itself, in place."""
    said = json.loads(model.metadata_props[0].value)
    model.metadata_props[0].value = json.dumps(said | changes)


def _exported_by_tracing(module: nn.Module) -> ModelProto:
    """Return a network exported by torch's older exporter as it is, in training mode if it is."""
    core = fixed_part(module, (72, 88))
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            core,
            (torch.rand(1, 3, 72, 88),),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=20,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["pixels"],
            output_names=["dense_boxes", "dense_scores"],
        )
    return onnx.load_model_from_string(buffer.getvalue())
