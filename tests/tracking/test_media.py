"""Laws of what a run shows beside numbers: it is what the reports say, picture for picture and row for row."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reprolens.errors import TrackingError
from reprolens.tracking.media import MAX_POINTS, _confusion, build_media
from reprolens.tracking.publish import publish
from reprolens.tracking.reports import CASES, MORE_FIGURES, TABLES, read_reports


@pytest.fixture(scope="module")
def repository(build: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One repository for the tests that only read its run."""
    return build(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def written(repository: Any, read_run: Callable[[Path], Any]) -> Any:
    result = publish(repository.root, repository.tracking(artifacts=False))
    return read_run(repository.root / result["folder"])


@pytest.fixture
def fresh(build: Callable[..., Any], tmp_path: Path) -> Any:
    """A repository of the test's own."""
    return build(tmp_path / "repository")


def _table(written: Any, name: str) -> Any:
    return json.loads((written.folder / "files" / written.media(name)["path"]).read_text())


def _chart(written: Any, name: str) -> Any:
    visualize = written.config["_wandb"]["visualize"][name]
    return visualize["panel_config"]


def test_every_kind_of_media_is_there_under_its_name(written: Any) -> None:
    for name in (
        *("curves/precision_recall_table", "curves/confusion_table", "curves/errors_table"),
        *("curves/thresholds_table", "curves/reliability_table"),
        *("tables/per_class", "tables/errors", "tables/reliability", "tables/label_errors"),
        *("samples/boxes", "samples/worst"),
        *(f"figures/{name}" for name in ("precision_recall", "confusion", "errors", "class_ap", "reliability")),
        *(f"sheets/{name}" for name in ("samples", "worst", "data", "augmentation")),
        *(f"sheets/{name}" for name in ("false_positives", "misses", "label_errors")),
    ):
        assert name in written.history[-1], name


def test_figures_and_sheets_are_the_files_of_the_reports(repository: Any, written: Any) -> None:
    for name, original in {
        "figures/precision_recall": "plots/pr.png",
        "figures/confusion": "plots/confusion.png",
        "figures/errors": "plots/errors.png",
        "figures/class_ap": "plots/class_ap.png",
        "figures/reliability": "plots/reliability.png",
        "sheets/samples": "samples/sheet.png",
        "sheets/worst": "samples/worst.png",
        "sheets/false_positives": "samples/false_positives.png",
        "sheets/misses": "samples/misses.png",
        "sheets/label_errors": "samples/label_errors.png",
        "sheets/data": "sheets/data.jpg",
        "sheets/augmentation": "sheets/augmentation.jpg",
    }.items():
        copy = written.folder / "files" / written.media(name)["path"]
        assert copy.read_bytes() == (repository.root / "reports" / original).read_bytes(), name


def test_the_worst_pictures_stand_apart_with_their_boxes_and_the_reason_why(repository: Any, written: Any) -> None:
    worst = written.media("samples/worst")
    assert worst["captions"] == ["test_0003: 1 missed, 2 false", "test_0004: 1 missed, 2 false"]
    assert written.media("samples/boxes")["captions"] == ["test_0000", "test_0001", "test_0002"]
    for index, name in enumerate(worst["filenames"]):
        copy, original = written.folder / "files" / name, repository.root / "reports/samples" / f"worst-{index}.jpg"
        assert copy.suffix == ".jpg"
        assert copy.read_bytes() == original.read_bytes()
    for entry in worst["all_boxes"]:
        for kind in ("predictions", "ground_truth"):
            (box,) = json.loads((written.folder / "files" / entry[kind]["path"]).read_text())["box_data"]
            assert (box["domain"], box["class_id"]) == ("pixel", 4)


def test_the_confusion_matrix_has_a_row_a_pair_in_the_form_of_wandbs_own_chart(written: Any) -> None:
    table = _table(written, "curves/confusion_table")
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    assert len(table["data"]) == 11 * 11
    assert table["data"][:2] == [["0", "0", 9], ["0", "1", 0]]
    assert _chart(written, "curves/confusion")["panelDefId"] == "wandb/confusion_matrix/v1"


def test_the_errors_are_a_table_and_bars(written: Any) -> None:
    table = _table(written, "tables/errors")
    assert table["columns"] == ["error", "count", "cost"]
    assert table["data"][0] == ["cls", 7, 0.02]
    bars = _table(written, "curves/errors_table")
    assert bars["data"] == [[name, cost] for name, _, cost in table["data"]]
    chart = _chart(written, "curves/errors")
    assert (chart["panelDefId"], chart["fieldSettings"]) == ("wandb/bar/v0", {"label": "error", "value": "cost"})
    assert written.summary["tide/cls"] == 0.02


def test_scores_and_doubtful_labels_are_tables_and_the_curves_of_them(written: Any) -> None:
    lines = _table(written, "curves/thresholds_table")
    assert lines["columns"] == ["threshold", "value", "measure"]
    assert [row for row in lines["data"] if row[0] == 0.5] == [
        *([0.5, 0.75, "precision"], [0.5, 0.5, "recall"], [0.5, 0.5, "f1"])
    ]
    assert _table(written, "curves/reliability_table")["data"] == [[0.375, 0.25], [0.625, 0.5], [0.875, 0.75]]
    bins = _table(written, "tables/reliability")
    assert bins["columns"] == ["confidence", "accuracy", "count", "lower", "upper"]
    assert bins["data"][0] == [None, None, 0, 0, 0.25]  # an empty bin has no mean score
    suspects = _table(written, "tables/label_errors")
    assert suspects["data"][0] == ["test_0001", "overlooked", "", "8", 1, 2.5, 30, 40, 0.875]


def test_a_run_of_reports_of_before_has_what_they_have(fresh: Any) -> None:
    reports = fresh.root / "reports"
    names = [file for file, _ in TABLES.values()] + [f"plots/{file}" for file in MORE_FIGURES.values()]
    for name in (*names, *(f"samples/{name}.png" for name in CASES), "ground_truth.json"):
        (reports / name).unlink()
    media = build_media(read_reports(reports))
    assert {"figures/confusion", "sheets/worst", "tables/errors"} <= set(media)
    assert not [name for name in media if "reliability" in name or "label_errors" in name or "misses" in name]
    assert publish(fresh.root, fresh.config)["mode"] == "offline"


def test_of_more_pairs_than_can_be_drawn_the_frequent_ones_stay() -> None:
    pairs = [(str(row), str(column), int(row == column) * row) for row in range(120) for column in range(120)]
    rows = _confusion(pairs).table.data
    assert len(rows) == 119 < MAX_POINTS
    assert rows[0] == ["119", "119", 119]


def test_without_pictures_there_are_no_samples_and_no_sheets_of_them(build: Callable[..., Any], tmp_path: Path) -> None:
    root = build(tmp_path / "repository", samples=0).root
    cases = (root / "reports" / "samples" / f"{name}.png" for name in CASES)
    for path in (*(root / "reports" / "sheets").iterdir(), *cases):
        path.unlink()
    media = build_media(read_reports(root / "reports"))
    assert not [name for name in media if name.startswith(("samples/", "sheets/"))]


def test_media_of_a_usual_run_are_built_in_less_than_a_second(build: Callable[..., Any], tmp_path: Path) -> None:
    root = build(tmp_path / "repository", samples=16).root
    build_media(read_reports(root / "reports"))  # imports
    began = time.perf_counter()
    build_media(read_reports(root / "reports"))
    assert time.perf_counter() - began < 1


DAMAGES = {
    "reports/plots/confusion.csv": "truth,prediction,count\n0,0,1.5\n",
    "reports/plots/errors.csv": "error,count,cost\ncls,1,\n",
    "reports/plots/confusion.png": None,
    "reports/plots/errors.png": None,
    "reports/samples/worst.png": None,
    "reports/samples/worst-0.jpg": "not a picture",
    "reports/sheets/data.jpg": "not a picture",
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_missing_or_damaged_is_named_in_one_line_with_the_stage_that_writes_it(fresh: Any, name: str) -> None:
    fresh.damage(name, DAMAGES[name])
    with pytest.raises(TrackingError) as raised:
        build_media(read_reports(fresh.root / "reports"))
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"kind": "best"}, "of the kind 'best'"), ({"why": None, "kind": None}, "of the kind 'None'")],
)
def test_a_picture_of_another_kind_is_refused(fresh: Any, change: dict[str, Any], reason: str) -> None:
    path = fresh.root / "reports" / "samples" / "samples.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([entries[0] | change]))
    with pytest.raises(TrackingError, match=reason):
        read_reports(fresh.root / "reports")


def test_a_sheet_that_is_not_there_is_not_shown(fresh: Any) -> None:
    (fresh.root / "reports" / "sheets" / "data.jpg").unlink()
    (fresh.root / "reports" / "samples" / "misses.png").unlink()
    sheets = ["augmentation", "false_positives", "label_errors", "samples", "worst"]
    assert sorted(read_reports(fresh.root / "reports").sheets) == sheets
    assert Image.open(read_reports(fresh.root / "reports").sheets["worst"]).size == (640, 480)
