"""What a comparison says: the same as the evaluations themselves, and only of the same test set."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comparison.cases import CLASSES, CONFIG, make_voc, write_reports, write_voc100
from reprolens import files
from reprolens.comparison import Comparison, Options, compare
from reprolens.comparison.table import to_json
from reprolens.errors import ConfigError, DataError
from reprolens.evaluation.predictions import Form

QUICK = Options(resamples=200)
Compare = Callable[..., Comparison]


@pytest.fixture(scope="module")
def run(experiments: Any) -> Compare:
    """Return what compares in the repository."""

    def compared(*names: str, **options: Any) -> Comparison:
        return compare(experiments.root, names, replace(QUICK, **options))

    return compared


@pytest.fixture(scope="module")
def found(run: Compare) -> Comparison:
    return run("one", "two")


@pytest.fixture
def copy(experiments: Any, tmp_path: Path) -> Path:
    """Return a folder like a repository that a test may change; its evaluation is that of the tag `two`."""
    for name in ("reports", "config.yaml"):
        source = experiments.root / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for path in (tmp_path / "reports").iterdir():
        path.chmod(0o644)  # DVC protects what it holds
    return tmp_path


def test_less_noise_is_better_and_swapped_it_is_worse_by_as_much(found: Comparison, run: Compare) -> None:
    (pair,), (back,) = found.pairs, run("two", "one").pairs
    assert pair.verdict.startswith("two is better: +0.") and back.verdict == pair.verdict
    assert (pair.outcome, back.outcome) == ("better", "worse")
    for key, own in pair.differences.items():
        assert back.differences[key].difference == pytest.approx(-(own.difference or 0), abs=1e-12)


def test_numbers_are_those_of_the_evaluations(found: Comparison, experiments: Any) -> None:
    told = json.loads((experiments.root / "reports" / "evaluation.json").read_text())
    assert found.pairs[0].differences["coco/ap"].second == pytest.approx(told["coco/ap"])
    for key, value in found.subjects[1].metrics.items():
        assert value == pytest.approx(told[key]), key
    assert found.notes == ()


def test_same_detections_differ_by_nothing(run: Compare) -> None:
    (pair,) = run("two", ".").pairs
    assert (pair.outcome, pair.verdict) == ("same", "no difference: the same detections")
    assert {own.difference for own in pair.differences.values()} <= {0.0, None}
    assert pair.changed == () and pair.changes == 0


def test_every_other_one_is_compared_with_the_first(run: Compare) -> None:
    several = run("good/0", "one", "two", "exp-1")
    assert [pair.name for pair in several.pairs] == ["one", "two", "exp-1"]
    assert [pair.outcome for pair in several.pairs] == ["worse", "better", "worse"]
    assert [pair.verdict.split(":")[0] for pair in several.pairs] == [
        "good/0 is better than one",
        "two is better than good/0",
        "good/0 is better than exp-1",
    ]


def test_settings_that_decide_results_are_listed_where_they_differ(found: Comparison) -> None:
    assert [(setting.name, setting.values) for setting in found.settings] == [("optimizer.lr", (0.006, 0.002))]
    told = {fact.name: fact.values for fact in found.facts}
    assert told["ONNX size, MB"] == (14.0, 10.0)
    assert told["weights"] == ("6" * 12, "2" * 12)


def test_pictures_that_changed_most_come_first_with_both_detections(found: Comparison) -> None:
    changed = found.pairs[0].changed
    gains = [abs(item.gain) for item in changed]
    assert gains == sorted(gains, reverse=True) and len(changed) == QUICK.images < found.pairs[0].changes <= 40
    assert changed[0].gain > 0 and "missed" in changed[0].before and changed[0].picture
    assert changed[0].first.scores.min() >= 0.5


def test_predictions_file_is_judged_by_the_truth_of_the_others(run: Compare, experiments: Any) -> None:
    shutil.copy(experiments.root / "reports" / "predictions.json", experiments.root / "theirs.json")
    try:
        both = run("one", "theirs.json")
        given = run("one", "theirs.json", data=experiments.root / "data" / "voc")
    finally:
        (experiments.root / "theirs.json").unlink()
    assert "theirs.json: judged by the truth of one" in both.notes
    for own in (both, given):
        expected = run("one", "two").pairs[0].differences
        assert own.pairs[0].differences.keys() == expected.keys()
        assert own.pairs[0].differences["coco/ap"].second == pytest.approx(expected["coco/ap"].second)


def test_a_split_that_all_were_measured_on_may_be_named(run: Compare) -> None:
    assert run("one", "two", split="test").split == "test"


def test_two_predictions_files_need_a_data_set(run: Compare, copy: Path, tmp_path_factory: Any) -> None:
    alone = tmp_path_factory.mktemp("alone")
    paths = [shutil.copy(copy / "reports" / "predictions.json", alone / name) for name in ("a.json", "b.json")]
    with pytest.raises(DataError, match=r"a\.json: no ground_truth\.json beside it; .*--data"):
        run(*map(str, paths))


def test_image_sets_in_another_order_are_the_same_test_set(run: Compare, copy: Path) -> None:
    path = copy / "reports" / "ground_truth.json"
    truth = json.loads(path.read_text())
    truth["images"].reverse()
    path.write_text(json.dumps(truth))
    (pair,) = run("two", str(copy)).pairs
    assert pair.outcome == "same"


def test_a_truth_that_was_changed_is_refused_though_it_claims_the_same_hash(run: Compare, copy: Path) -> None:
    path = copy / "reports" / "ground_truth.json"
    whole = json.loads(path.read_text())
    for key, value in (("bbox", [1.0, 2.0, 3.0, 4.0]), ("iscrowd", 1), ("area", 9e9), ("category_id", None)):
        truth = json.loads(json.dumps(whole))
        item = truth["annotations"][5]
        item[key] = value if value is not None else item[key] % len(CLASSES) + 1
        path.write_text(json.dumps(truth))
        with pytest.raises(DataError, match=r"both claim the test set .* objects differ.*changed afterwards") as no:
            run("two", str(copy))
        assert "\n" not in str(no.value)
    path.write_text(json.dumps(whole))
    assert run("two", str(copy)).pairs[0].outcome == "same"


def test_annotations_in_another_order_are_the_same_truth(run: Compare, copy: Path) -> None:
    path = copy / "reports" / "ground_truth.json"
    truth = json.loads(path.read_text())
    truth["annotations"].reverse()
    path.write_text(json.dumps(truth))
    assert run("two", str(copy)).pairs[0].outcome == "same"


def test_other_detections_of_the_same_number_are_not_called_the_same(run: Compare, copy: Path) -> None:
    path = copy / "reports" / "predictions.json"
    found = json.loads(path.read_text())
    for item in found:
        item["score"] = item["score"] / 2 + 0.5 if item["score"] >= 0.5 else item["score"] / 2
    path.write_text(json.dumps(found))
    (pair,) = run("two", str(copy), metric="precision").pairs
    assert pair.outcome == "open" and pair.differences["precision"].difference == 0
    assert pair.verdict == f"no difference in precision: both {pair.differences['precision'].first:.3f}"


def test_the_folder_of_an_evaluation_is_a_subject(run: Compare, copy: Path) -> None:
    found = run("one", str(copy / "reports"))
    assert found.subjects[1].said == f"the evaluation in {copy / 'reports'}"
    assert found.pairs[0].differences == run("one", "two").pairs[0].differences


def test_predictions_without_a_truth_are_judged_by_that_beside_others(run: Compare, copy: Path, tmp_path: Path) -> None:
    alone, known = tmp_path / "alone.json", str(copy / "reports" / "predictions.json")
    shutil.copy(known, alone)
    found = run(str(alone), known)
    assert found.pairs[0].outcome == "same" and found.split == "test"
    assert f"{alone}: judged by the truth of {known}" in found.notes


def test_text_files_are_judged_by_a_repositorys_truth_and_its_labels(run: Compare, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "000.txt").write_text("1 0.9 10 10 40 40\n")
    found = run("one", str(folder), form=Form(boxes="xyxy"))
    assert found.subjects[1].metrics["detections"] == 1


def test_the_score_threshold_can_be_given(run: Compare) -> None:
    found = run("one", "two", score_threshold=0.9)
    assert [own.score_threshold for own in found.subjects] == [0.9, 0.9]
    assert found.pairs[0].changed[0].first.scores.min(initial=1) >= 0.9


def test_other_test_sets_are_refused_in_one_line(run: Compare, tmp_path: Path) -> None:
    write_reports(tmp_path, make_voc(tmp_path / "data" / "voc", 40, seed=1), 3.0)
    with pytest.raises(
        DataError, match=r"one and .* different test sets \(test, 40 pictures, \w{12} and test, 40"
    ) as no:
        run("one", str(tmp_path))
    assert "\n" not in str(no.value)


def test_other_test_sets_of_predictions_files_are_refused(run: Compare, tmp_path: Path) -> None:
    write_reports(tmp_path, make_voc(tmp_path / "data" / "voc", 12), 3.0)
    with pytest.raises(DataError, match="different test sets"):
        run("one", str(tmp_path / "reports" / "predictions.json"))


def test_data_set_without_its_pictures_is_known_by_its_truth(run: Compare, experiments: Any, tmp_path: Path) -> None:
    voc = tmp_path / "voc"
    shutil.copytree(experiments.root / "data" / "voc", voc, ignore=shutil.ignore_patterns("JPEGImages"))
    theirs = shutil.copy(experiments.root / "reports" / "predictions.json", tmp_path / "theirs.json")
    assert run("one", str(theirs), data=voc).pairs[0].outcome == "better"
    shutil.rmtree(voc)
    make_voc(voc, 40, seed=1)
    shutil.rmtree(voc / "JPEGImages")
    with pytest.raises(DataError, match="different test sets"):
        run("one", str(theirs), data=voc)


def test_results_that_dvc_has_lost_are_named_with_what_to_do(run: Compare, experiments: Any) -> None:
    with (
        experiments.without_cache(),
        pytest.raises(DataError, match=r"one: reports/\w+.json is not in DVC's cache") as no,
    ):
        run("one", ".")
    assert "dvc repro there" in str(no.value) and "\n" not in str(no.value)


def test_results_come_from_a_remote_where_the_cache_has_lost_them(run: Compare, experiments: Any) -> None:
    from dvc.repo import Repo

    config = experiments.root / ".dvc" / "config"
    before, remote = config.read_text(), experiments.root.parent / "remote"
    config.write_text(f"[core]\n    remote = here\n['remote \"here\"']\n    url = {remote}\n")
    try:
        with Repo(str(experiments.root)) as repo:
            repo.push(revs=["one"], all_tags=True)
        experiments.git("commit", "-qam", "remote")
        experiments.git("tag", "far")
        with experiments.without_cache():
            assert run("far", "good/0").pairs[0].outcome == "worse"
    finally:
        config.write_text(before)
        experiments.git("reset", "-q", "--hard", "two")


def test_revision_that_was_never_evaluated_is_refused(run: Compare) -> None:
    with pytest.raises(DataError, match=r"empty: reports/predictions\.json not found; .*dvc repro evaluate"):
        run("one", "empty")


@pytest.mark.parametrize("name", ["predictions", "ground_truth"])
def test_damaged_files_are_named(run: Compare, copy: Path, name: str) -> None:
    (copy / "reports" / f"{name}.json").write_text('[{"image_id": 1')
    with pytest.raises(DataError, match=rf"reports/{name}\.json") as no:
        run("one", str(copy))
    assert "\n" not in str(no.value)


def test_damaged_configuration_is_named(run: Compare, copy: Path) -> None:
    (copy / "config.yaml").write_text("a: [")
    with pytest.raises(DataError, match=r"config\.yaml: not a composed configuration"):
        run("one", str(copy))


def test_report_of_other_predictions_is_noticed(run: Compare, copy: Path) -> None:
    path = copy / "reports" / "evaluation.json"
    files.write_json(path, {**json.loads(path.read_text()), "coco/ap": 0.9})
    assert any("says coco/ap 0.9000, its predictions give" in note for note in run("one", str(copy)).notes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "coco/app"}, "--metric coco/app: did you mean coco/ap"),
        ({"resamples": 10}, "--resamples 10: must be from 100 to 100000"),
        ({"resamples": 10**6}, "--resamples 1000000: must be from 100 to 100000"),
        ({"score_threshold": float("nan")}, "--score-threshold nan: must be a number"),
        ({"data": Path("absent")}, "--data absent: nothing is judged by it, one and two bring their own truth"),
        ({"form": Form(boxes="xyxy")}, "--boxes, .*: nothing is read by them"),
        ({"split": "val"}, "--split val: one was measured on test; leave --split out"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
    ],
)
def test_wrong_options_are_one_line(run: Compare, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run("one", "two", **options)


def test_verdict_can_be_on_a_class(run: Compare) -> None:
    assert f"voc12/ap50/{CLASSES[0]}" in run("one", "two", metric=f"voc12/ap50/{CLASSES[0]}").pairs[0].verdict


def test_same_input_gives_the_same_numbers(run: Compare, found: Comparison) -> None:
    assert json.dumps(to_json(run("one", "two"))) == json.dumps(to_json(found))
    assert CONFIG["evaluate"]["score_threshold"] == found.subjects[0].score_threshold


def test_any_detectors_files_are_compared_by_a_coco_file(run: Compare, shared_data: Path, tmp_path: Path) -> None:
    truth, noisy = write_voc100(shared_data / "voc100_multiformat" / "data" / "database", tmp_path)
    theirs = shared_data / "voc100_multiformat" / "data" / "database" / "dets" / "abs_xyx2y2"
    form = Form(boxes="xyxy", first_pixel=0, annotations=truth)
    both = run(str(theirs), str(noisy), data=truth, form=form, ignore_difficult=False)
    (pair,) = both.pairs
    assert pair.differences["coco/ap"].first == pytest.approx(0.346958, abs=1e-6)
    assert pair.differences["voc12/map50"].first == pytest.approx(0.610913, abs=1e-6)
    assert pair.outcome == "worse" and both.images == 100
    assert all(item.picture is None for item in pair.changed)


def test_a_truth_without_names_of_pictures_is_compared_by_its_own_order_and_never_mixed_up(tmp_path: Path) -> None:
    voc = make_voc(tmp_path / "data" / "voc", 12)
    write_reports(tmp_path, voc, 3.0)
    truth = json.loads((tmp_path / "reports" / "ground_truth.json").read_text())
    for image in truth["images"]:
        del image["file_name"], image["voc_id"]
    del truth["info"]
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(truth))
    for name in ("a.json", "b.json"):
        shutil.copy(tmp_path / "reports" / "predictions.json", tmp_path / name)
    found = compare(tmp_path, [str(tmp_path / "a.json"), str(tmp_path / "b.json")], replace(QUICK, data=bare))
    assert found.pairs[0].outcome == "same"
    assert (found.split, found.sha256) == ("bare", files.sha256(bare))
    assert found.subjects[0].metrics["coco/ap"] == pytest.approx(
        json.loads((tmp_path / "reports" / "evaluation.json").read_text())["coco/ap"], abs=1e-9
    )
