"""The pages of sweeps that lie on disk as a sweep leaves them, parsed as a browser parses them."""

import json
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from PIL import Image

from reprolens.errors import SweepError
from reprolens.sweeps.page import write_pages
from reprolens.sweeps.record import Status, Sweep, Trial, write_sweep, write_trial

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def sweep_folder(folder: Path, metrics: tuple[str, ...] = ("voc12/map50",), word: str = "ssd") -> Path:
    """Make a sweep of four finished trials with all their reports, a failed one and one that waits."""
    directions = ("maximize", "minimize")[: len(metrics)]
    plan = Sweep(folder.name, ("model=a,b",), metrics, directions, (), 6, "t", "b" * 40, "c", 1000.0)
    write_sweep(folder, plan)
    for number in range(4):
        parameters = {"model": (word, "fcos")[number % 2], "optimizer.lr": 10.0 ** -(1 + number // 2), "seed": number}
        values = (0.5 + number / 10, 5.0 + number % 3)[: len(metrics)]
        stages = {"convert": {"seconds": 0.2, "executed": False}, "train": {"seconds": 61.5, "executed": True}}
        write_trial(
            folder,
            Trial(
                number, "00ff", parameters, Status.done, values, None, (), stages, "c", f"s-{number}", 1000.0, 1070.0
            ),
        )
        reports(folder / str(number), values[0], word)
    tail = ("starting", f"error: {word}")
    write_trial(folder, Trial(4, "", {"model": word}, Status.failed, error=f"no {word}", tail=tail))
    write_trial(folder, Trial(5, "", {"model": word}))
    return folder


def reports(workspace: Path, value: float, word: str) -> None:
    samples = workspace / "reports" / "samples"
    samples.mkdir(parents=True)
    (workspace / "reports" / "plots").mkdir()
    (workspace / "export").mkdir()
    evaluation = {"voc12/map50": value, "voc12/map50/low": value - 0.02, "voc12/map50/high": value + 0.01, word: 1}
    dataset = {"images": 3, "images/train": 2, "images/test": 1, "boxes/train": 7, "boxes/test": 4, "problems": 2}
    box = {"box": [1, 2, 5, 8], "label": word}
    picture = {"image": "0.jpg", "id": "a", "width": 16, "height": 12, "truth": [box]}
    values = {
        "evaluation": evaluation,
        "dataset": dataset,
        "train": {"epochs": 2},
        "run": {"url": f"javascript:{word}"},
        "samples/samples": [picture | {"predictions": [box | {"score": 0.5}]}, {"image": "gone.jpg"}],
    }
    for name, report in values.items():
        (workspace / "reports" / f"{name}.json").write_text(json.dumps(report))
    quoted = f'"{word.replace(chr(34), chr(34) * 2)}"'
    plots = {
        "pr.csv": f"class,recall,precision\n{quoted},0.5,1\n{quoted},1,0.5\n",
        "per_class.csv": f"class,boxes,ap50_voc12\n{quoted},4,0.75\n",
        "confusion.csv": f"truth,prediction,count\n{quoted},{quoted},3\n{quoted},background,1\n",
        "errors.csv": f"error,count,cost\n{quoted},3,0.25\n",
    }
    for name, text in plots.items():
        (workspace / "reports" / "plots" / name).write_text(text)
    header = f"epoch,global_step,lr,train/loss,train/{word.replace(',', '')},val/map50"
    (workspace / "reports" / "history.csv").write_text(f"{header}\n1,4,0.1,2,1,0.3\n2,8,0.01,1,0.5,0.4\n")
    Image.new("RGB", (16, 12)).save(workspace / "reports" / "samples" / "0.jpg")
    for name in ("dvc.log", "params.yaml", "export/README.md"):
        (workspace / name).write_text("")


def parse(path: Path) -> Any:
    return html.fromstring(path.read_text(encoding="utf-8"))


def figures(page: Any) -> list[Any]:
    return [json.loads(text) for text in page.xpath("//script[@type='application/json']/text()")]


def texts(page: Any, path: str) -> list[str]:
    return [" ".join(" ".join(element.itertext()).split()) for element in page.xpath(path)]


def test_sweep_page_lists_the_trials_best_first_and_links_to_their_pages(tmp_path: Path) -> None:
    page = parse(write_pages(sweep_folder(tmp_path / "s")))
    rows = texts(page, "(//table)[1]/tbody/tr")
    assert [row.split()[1] for row in rows] == ["3", "2", "1", "0"]
    assert rows[0].split()[2:6] == ["fcos", "0.01", "3", "0.8000"]
    assert rows[0].endswith("2 1 min 10 s")
    assert "0.7800" in rows[0]
    assert page.xpath("(//table)[1]/tbody/tr[1]//a/@href") == ["3/index.html"]


def test_sweep_page_tells_what_test_says_beside_the_objective(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s", ("val/map50",))
    assert "test" not in " ".join(texts(parse(write_pages(folder)), "(//table)[1]/thead"))
    for number in (1, 3):
        path = folder / str(number) / "reports" / "evaluation.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"split": "test", "voc12/map50": 0.25 * number}))
    page = parse(write_pages(folder))
    assert "val/map50 ↑ test voc12/map50 epochs time" in texts(page, "(//table)[1]/thead")[0]
    rows = texts(page, "(//table)[1]/tbody/tr")
    assert [row.split()[5:7] for row in rows] == [
        ["0.8000", "0.7500"],
        ["0.7000", "-"],
        ["0.6000", "0.2500"],
        ["0.5000", "-"],
    ]
    assert len(page.xpath("(//table)[1]//*[@class='whisker']")) == 2
    assert "What test says is told, not ranked by" in " ".join(texts(page, "//p[@class='note']"))


def test_every_link_and_picture_of_every_page_is_a_file_of_the_sweep(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s")
    write_pages(folder)
    pages = [folder / "index.html", *folder.glob("*/index.html")]
    assert len(pages) == 7
    for path in pages:
        for link in parse(path).xpath("//@href | //@src"):
            assert (path.parent / link).resolve().is_file(), f"{path}: {link}"


def test_pages_need_no_network(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s")
    write_pages(folder)
    for path in [folder / "index.html", *folder.glob("*/index.html")]:
        page = parse(path)
        assert not [link for link in page.xpath("//@href | //@src") if ":" in link or link.startswith("//")]
        assert "url(" not in "".join(page.xpath("//style/text()"))
        assert "@import" not in "".join(page.xpath("//style/text()"))
    assert len(list(folder.rglob("plotly.min.js"))) == 1


def test_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s", ("voc12/map50", "latency"))
    write_pages(folder)
    before = {path: path.read_bytes() for path in folder.rglob("index.html")}
    write_pages(folder)
    assert {path: path.read_bytes() for path in folder.rglob("index.html")} == before


@pytest.mark.parametrize("word", [EVIL, "'\"><b>", "{{ 7 * 7 }}", "a&amp;b"])
def test_names_values_and_log_lines_are_text_whatever_is_in_them(tmp_path: Path, word: str) -> None:
    folder = sweep_folder(tmp_path / "s", word=word)
    plain = sweep_folder(tmp_path / "plain")
    page, reference = parse(write_pages(folder)), parse(write_pages(plain))
    for one, other in [(page, reference), (parse(folder / "0" / "index.html"), parse(plain / "0" / "index.html"))]:
        for tag in ("script", "img", "b"):
            assert len(one.xpath(f"//{tag}")) == len(other.xpath(f"//{tag}"))
        assert not one.xpath("//@onerror")
        assert not [link for link in one.xpath("//@href") if "script:" in link]
    assert word in page.xpath("//article//pre")[0].text_content()
    assert word in page.xpath("//td[@class='parameter']//text()")
    told = [text for figure in figures(page) for trace in figure.get("data", []) for text in trace.get("text", [])]
    assert told
    assert not [text for text in told if "<img" in text or "<script" in text or "<b>" in text]


def test_metric_is_drawn_over_each_parameter_with_its_interval(tmp_path: Path) -> None:
    page = parse(write_pages(sweep_folder(tmp_path / "s")))
    assert texts(page, "//figcaption") == ["model", "optimizer.lr", "seed"]
    (points,) = figures(page)[1]["data"]
    assert points["y"] == [0.8, 0.7, 0.6, 0.5]
    assert points["error_y"]["arrayminus"] == pytest.approx([0.02] * 4)
    assert points["customdata"] == [f"{number}/index.html" for number in (3, 2, 1, 0)]
    assert figures(page)[1]["layout"]["xaxis"]["ticktext"] == ["fcos", "ssd"]


def test_parallel_coordinates_hold_a_line_for_each_trial_that_is_done(tmp_path: Path) -> None:
    parallel = figures(parse(write_pages(sweep_folder(tmp_path / "s"))))[0]
    assert [axis["name"] for axis in parallel["axes"]] == ["model", "lr", "seed", "voc12/map50 ↑"]
    assert [line["page"] for line in parallel["lines"]] == [f"{number}/index.html" for number in range(4)]
    assert [line["good"] for line in parallel["lines"]] == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-3)
    assert all(0 <= place <= 1 for line in parallel["lines"] for place in line["places"])


def test_two_objectives_have_a_pareto_front(tmp_path: Path) -> None:
    page = parse(write_pages(sweep_folder(tmp_path / "s", ("voc12/map50", "latency"))))
    assert "Pareto front" in texts(page, "//h2")
    dominated, front = figures(page)[-1]["data"]
    assert front["customdata"] == ["3/index.html"]
    assert len(dominated["customdata"]) == 3


def test_trial_page_shows_its_parameters_curves_pictures_stages_and_data(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s")
    write_pages(folder)
    page = parse(folder / "0" / "index.html")
    assert texts(page, "//h2") == [
        *["Parameters", "Get it", "Training, by epoch", "Precision and recall", "Classes", "Confusion", "Errors"],
        *["Samples", "Stages", "Data set", "All values", "Files"],
    ]
    assert texts(page, "//figure[@class='curves']/figcaption") == ["Loss", "Validation", "Learning rate"]
    assert page.xpath("//pre/text()")[0].split("\n")[0] == "reprolens promote s/0"
    assert "dvc exp apply s-0" in page.xpath("//pre/text()")[0]
    assert page.xpath("//svg/image/@href") == ["reports/samples/0.jpg"]
    assert len(page.xpath("//figure[@class='shot']//g[@class='truth' or @class='seen']")) == 2
    assert "convert cached" in texts(page, "//tr")
    assert "train 1 min 2 s" in texts(page, "//tr")
    assert "train 2 7" in texts(page, "//tr")
    assert page.xpath("//p[@class='links']/a/@href") == [
        "dvc.log",
        "params.yaml",
        "export/README.md",
        "reports/history.csv",
    ]


def test_trial_page_shows_its_objective_and_links_to_the_page_of_its_run(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s")
    (folder / "2" / "reports" / "index.html").write_text("")
    write_pages(folder)
    page = parse(folder / "2" / "index.html")
    assert texts(page, "//div[@class='tile']") == ["voc12/map50 ↑ 0.7000 0.6800 \u2013 0.7100"]
    assert page.xpath("//p[@class='links']/a[text()='page of the run']/@href") == ["reports/index.html"]


def test_only_the_page_of_a_sweep_loads_plotly(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s")
    assert parse(write_pages(folder)).xpath("//script/@src") == ["plotly.min.js"]
    assert not parse(folder / "0" / "index.html").xpath("//script/@src")


def test_trials_that_are_not_done_have_a_page_too(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s")
    page = parse(write_pages(folder))
    assert texts(page, "//article") == ["Trial 4 model=ssd no ssd starting error: ssd"]
    assert "error: ssd" in parse(folder / "4" / "index.html").xpath("//pre")[0].text_content()
    assert "waiting" in parse(folder / "5" / "index.html").text_content()


def test_damaged_reports_leave_out_what_they_would_show(tmp_path: Path) -> None:
    folder = sweep_folder(tmp_path / "s")
    for path in (folder / "0" / "reports").rglob("*.*"):
        if path.suffix in (".json", ".csv"):
            path.write_bytes(b'{"images/train": "x", \xff')
    (folder / "1" / "reports" / "dataset.json").write_text('{"images/train": null, "boxes/train": []}')
    (folder / "1" / "reports" / "samples" / "samples.json").write_text('[1, {"image": "../../secret"}]')
    write_pages(folder)
    assert "Training, by epoch" not in texts(parse(folder / "0" / "index.html"), "//h2")


def test_sweep_without_a_finished_trial_has_a_page(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write_sweep(folder, Sweep("s", (), ("map",), ("maximize",), (), 2, "t", "b", "c", 1000.0))
    assert "No trial is done yet" in parse(write_pages(folder)).text_content()


def test_folder_without_a_sweep_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="no sweep here"):
        write_pages(tmp_path)
