"""The page of a run, made of reports as the stages write them and parsed as a browser parses it."""

import base64
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from PIL import Image

from reprolens.tracking.page import PAGE, render_page, write_page
from tracking.pages import RUN, analyse, composed, page_of, texts, write_table

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'
SECTIONS = [
    *["Training, by epoch", "Precision and recall", "Scores", "Classes", "Sizes", "Confusion", "Errors", "Samples"],
    *[
        "Single cases",
        "Likely label errors",
        "What the model was shown",
        "Data set",
        "Export",
        "All values",
        "Configuration",
        "Provenance",
    ],
]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def root(build: Callable[..., Any], tmp_path: Path) -> Path:
    """Return a repository whose evaluate stage also wrote its confusion, its errors, worst cases and contact sheets."""
    root = build(tmp_path).root
    analyse(root)
    return root


def test_page_says_everything_in_an_engineers_order(root: Path) -> None:
    page = page_of(root)
    assert texts(page, "//h2") == SECTIONS
    assert texts(page, "//h1") == ["ssd-digits"]
    (facts,) = texts(page, "//p[@class='facts']")
    assert "seed 1" in facts
    assert "commit 12345678 + changes" in facts
    assert "DVC data aaaaaaaa" in facts
    provenance = texts(page, "//section[last()]//tr")
    assert f"dvc stages.train {'d' * 32}" in provenance
    assert "python 3.11.9" in provenance
    commands = "\n".join(page.xpath("//section[last()]//pre/text()"))
    assert commands.split("\n") == ["git checkout 1234567890", "dvc repro", "wandb leet wandb/"]


def test_numbers_are_those_of_the_reports(root: Path) -> None:
    page = page_of(root)
    assert texts(page, "//div[@class='tile']") == [
        "voc12/map50 0.9250 0.9000 \u2013 0.9500",
        "coco/ap 0.6100",
        "precision 0.9000 0.8500 \u2013 0.9200",
        "best_f1 0.8800",
        "ONNX latency 7.5 ms",
        "ONNX size 8.5 MB",
        "training 1 min 2 s",
    ]
    assert "9 40 0.900" in texts(page, "//section[h2='Classes']//tbody/tr")  # an empty cell stays empty
    assert texts(page, "//section[h2='Errors']//tbody/tr") == [
        *["right place, wrong class 7 0.0125", "not found 2 0.0500", "3 0 0.0000"]
    ]
    hover = json.loads(page.xpath("//figure[figcaption='Validation']/@data-hover")[0])
    assert hover["title"] == ["epoch 2", "epoch 4"]
    assert hover["values"][0] == ["0.6000", "0.3000"]
    assert "voc12/ap50/0 0.9000" in texts(page, "//section[h2='All values']//tr")
    told = texts(page, "//section[h2='Confusion']//title")
    assert "true 3, predicted 8: 3 (8 % of 3)" in told
    assert "Most confused: 3 as 8 3 ." in texts(page, "//section[h2='Confusion']//p")


def test_precision_recall_curve_goes_through_the_reported_points(root: Path) -> None:
    points = [("3", 0.5, 0.75), ("3", 0.25, 0.5), ("3", 1, 0.25)]
    write_table(root / "reports/plots/pr.csv", ["class", "recall", "precision"], points)
    (path,) = page_of(root).xpath("//figure[contains(@class, 'lines')]//path[@class='line class']/@d")
    # The envelope: 0.75 up to recall 0.5, then 0.25 up to 1; the chart is 376 units wide from 52, 324 high from 10.
    assert path == "M52,91V91H240V253H428V334"


def test_page_is_self_contained(root: Path) -> None:
    page = page_of(root)
    sources = page.xpath("//@src | //image/@href | //link/@href | //object/@data | //iframe/@src")
    assert len(sources) == 9
    assert all(source.startswith(("data:image/jpeg;base64,", "data:image/png;base64,")) for source in sources)
    style = "".join(page.xpath("//style/text() | //@style"))
    assert "url(" not in style
    assert "@import" not in style
    assert not page.xpath("//script[@src] | //link")
    assert not page.xpath("//a/@href")
    name = root / "reports" / "samples" / "0.jpg"
    assert base64.b64decode(page.xpath("//image/@href")[0].partition(",")[2]) == name.read_bytes()


def test_online_run_is_linked_and_no_other_address(root: Path) -> None:
    assert page_of(root, RUN | {"url": "https://example.org/r"}).xpath("//a/@href") == ["https://example.org/r"] * 2
    assert not page_of(root, RUN | {"url": "javascript:alert(1)"}).xpath("//a/@href")


def test_boxes_lie_where_samples_json_says_and_carry_their_score(root: Path) -> None:
    page = page_of(root)
    (entry, *_) = json.loads((root / "reports/samples/samples.json").read_text())
    shot = page.xpath("//figure[@class='shot']")[0]
    box = shot.xpath(".//g[@class='truth']/rect[not(@class)]")[0]
    assert [box.get(key) for key in ("x", "y", "width", "height")] == ["20.0", "20.5", "40.0", "39.8"]
    score = entry["predictions"][0]["score"]
    assert float(shot.xpath(".//g[@class='seen']/@data-score")[0]) == pytest.approx(score, abs=1e-4)
    assert texts(page, "//figure[@class='shot'][last()]/figcaption")[-1] == "worst 3 1 missed 3"


@pytest.mark.parametrize("word", [EVIL, "'\"><b>", "{{ 7 * 7 }}", "a&amp;b"])
def test_what_comes_from_outside_is_text_whatever_is_in_it(root: Path, word: str) -> None:
    plain = page_of(root)
    analyse(root, word)
    reports = root / "reports"
    columns = ["class", "boxes", "ap50_voc12", word]
    write_table(reports / "plots" / "per_class.csv", columns, [(word, 1, 0.5, 0.5)])
    write_table(reports / "plots" / "pr.csv", ["class", "recall", "precision"], [(word, 0.5, 0.5)])
    write_table(reports / "history.csv", ["epoch", "train/loss", f"train/{word}"], [(1, 1, 1), (2, 1, 1)])
    dataset = json.loads((reports / "dataset.json").read_text())
    problem = {"kind": "x", "file": word, "place": "", "reason": word, "action": "drop"}
    dataset |= {"problems": 1, "problem_list": [problem], f"images/{word}": 3, word: word}
    dataset["classes"][0]["name"] = word
    (reports / "dataset.json").write_text(json.dumps(dataset))
    table = ("image", "kind", "class", "suggested", "x0", "y0", "x1", "y1", "suspicion")
    write_table(reports / "label_errors.csv", list(table), [(word, word, word, word, 1, 1, 2, 2, 0.5)])
    evaluation = json.loads((reports / "evaluation.json").read_text())
    (reports / "evaluation.json").write_text(
        json.dumps(evaluation | {"split": word, "data/sha256": word, "weights/sha256": word})
    )
    changed = composed(root) | {"seed": word, "git": {"revision": word}, "dvc": {word: word}, word: {"name": word}}
    page = html.fromstring(render_page(root, changed, dict.fromkeys(RUN, word) | {"url": word}))
    for tag in ("script", "img"):
        assert len(page.xpath(f"//{tag}")) == len(plain.xpath(f"//{tag}"))
    assert not page.xpath("//@onerror")
    assert not page.xpath("//b[not(@style) and not(ancestor::p[@class='facts'])]")
    assert texts(page, "//h1") == [" ".join(word.split())]
    assert any(told.startswith(f"true {word}, predicted 8") for told in page.xpath("//svg//title/text()"))
    assert word in page.xpath("//section[h2='Classes']//th/text()")
    assert word in [text.strip() for text in page.xpath("//ul[@class='legend']/li/text()")]


def test_each_report_that_is_missing_or_damaged_is_left_out(root: Path) -> None:
    for name, lost in {
        "reports/history.csv": {"Training, by epoch"},
        "reports/plots/pr.csv": {"Precision and recall"},
        "reports/plots/per_class.csv": {"Classes"},
        "reports/plots/confusion.csv": {"Confusion"},
        "reports/plots/errors.csv": {"Errors"},
        "reports/samples/samples.json": {"Samples"},
        "reports/export.json": {"Export"},
        "reports/dataset.json": {"Data set"},
    }.items():
        path = root / name
        whole = path.read_bytes()
        for broken in (None, b'[{"images/train": "x", \xff'):
            path.unlink()
            if broken:
                path.write_bytes(broken)
            assert set(SECTIONS) - set(texts(page_of(root), "//h2")) == lost, name
            path.write_bytes(whole)
    assert texts(page_of(root), "//h2") == SECTIONS


def test_values_of_the_wrong_kind_are_left_out(root: Path) -> None:
    reports = root / "reports"
    odd = {"images/train": "x", "images/val": None, "classes": [1, {"name": "a", "train": []}], "problem_list": [1]}
    (reports / "dataset.json").write_text(json.dumps(odd | {"problems": "many"}))
    (reports / "evaluation.json").write_text('{"voc12/map50": NaN, "coco/ap": true, "precision": [], "x": 1e999}')
    box = {"box": [1, 2, float("nan"), 4], "label": "3"}
    entry = {"image": "0.jpg", "id": "a", "width": 160, "height": 120, "truth": [], "predictions": []}
    entries = [1, entry | {"image": "../../secret.jpg"}, entry | {"truth": [box]}, entry | {"width": 0}, entry]
    (reports / "samples" / "samples.json").write_text(json.dumps(entries))
    rows = [(1, "inf", "nan"), (2, 1e300, ""), (3, 0.5, 5e-324), ("x", 1, 1)]
    write_table(reports / "history.csv", ["epoch", "train/loss", "lr"], rows)
    write_table(
        reports / "plots" / "confusion.csv", ["truth", "prediction", "count"], [("a", "b", "nan"), ("a", "b", -1)]
    )
    rows = [("nan", 1, 1, 1), (0.5, 2, "inf", -1), ("", "", "", "")]
    write_table(reports / "plots" / "thresholds.csv", ["threshold", "precision", "recall", "f1"], rows)
    bins = [(0.5, 0.5, "nan", 0, 0.1), (0.5, 2, 3, 0.1, 0.2), (0.5, 0.5, 3, 0.2, 0.2), (0.5, 0.5, 3, "x", 1)]
    write_table(reports / "plots" / "reliability.csv", ["confidence", "accuracy", "count", "lower", "upper"], bins)
    write_table(reports / "label_errors.csv", ["image", "suspicion", "x0"], [("a", "nan", 1), ("b", 0.5, "nan")])
    page = page_of(root)
    assert texts(page, "//section[h2='Likely label errors']//tbody/tr/th") == ["b"]
    assert "Scores" not in texts(page, "//h2")
    assert len(page.xpath("//figure[@class='shot']")) == 1
    assert "Confusion" not in texts(page, "//h2")
    assert not [value for value in page.xpath("//svg//@*") if "nan" in value or "inf" in value]


def test_unfinished_trial_shows_the_best_of_its_validation(tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "history.csv").write_text("epoch,val/map50,val/loss\n1,0.5,2\n2,0.75,1\n3,0.625,3\n4,0.6")
    page = html.fromstring(render_page(tmp_path, {}, {}))
    assert texts(page, "//h1") == ["experiment"]
    assert texts(page, "//div[@class='tile']") == ["val/map50, best so far 0.7500", "val/loss, best so far 1.000"]
    assert texts(page, "//h2") == ["Training, by epoch", "Provenance"]


def test_picture_that_is_half_written_is_left_out(root: Path) -> None:
    path = root / "reports" / "samples" / "0.jpg"
    path.write_bytes(path.read_bytes()[:-100])
    assert len(page_of(root).xpath("//figure[@class='shot']")) == 3


def test_pictures_beyond_the_most_that_are_shown_are_counted(root: Path) -> None:
    path = root / "reports" / "samples" / "samples.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1] * 40))
    page = page_of(root)
    assert len(page.xpath("//figure[@class='shot']")) == 24
    assert "16 more in reports/samples." in texts(page, "//section[h2='Samples']//p")


def test_same_reports_give_the_same_bytes(root: Path) -> None:
    path = write_page(root, composed(root), RUN)
    assert path == root / PAGE
    first = path.read_bytes()
    time.sleep(0.01)
    assert write_page(root, composed(root), RUN).read_bytes() == first


def test_large_pictures_are_made_smaller_and_the_page_stays_small(root: Path) -> None:
    samples = root / "reports" / "samples"
    noise = Image.effect_noise((1600, 1200), 80).convert("RGB")
    noise.save(samples / "0.jpg", quality=95)
    assert (samples / "0.jpg").stat().st_size > 1_000_000
    entries = json.loads((samples / "samples.json").read_text())
    (samples / "samples.json").write_text(json.dumps([entry | {"image": "0.jpg"} for entry in entries] * 8))
    page = render_page(root, composed(root), RUN)
    assert len(page) < 2_000_000
    first = html.fromstring(page).xpath("//image/@href")[0]
    with Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))) as picture:
        assert picture.width / picture.height == pytest.approx(4 / 3, abs=0.01)


def test_page_of_a_long_run_with_many_classes_is_drawn_at_once(root: Path) -> None:
    names = [f"class {index}" for index in range(80)]
    history = [(epoch, *(1 / (epoch + column) for column in range(8))) for epoch in range(1, 3001)]
    write_table(root / "reports/history.csv", ["epoch", *(f"train/{index}" for index in range(8))], history)
    points = [(name, step / 200, 1 - step / 400) for name in names for step in range(201)]
    write_table(root / "reports/plots/pr.csv", ["class", "recall", "precision"], points)
    render_page(root, composed(root), RUN)
    start = time.perf_counter()
    page = render_page(root, composed(root), RUN)
    assert time.perf_counter() - start < 2
    assert len(page) < 1_500_000


def test_page_imports_neither_wandb_nor_torch_nor_matplotlib(root: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from reprolens.tracking.page import render_page;"
        "render_page(Path(sys.argv[1]), {}, {});"
        "print([name for name in ('wandb', 'torch', 'matplotlib', 'plotly', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
