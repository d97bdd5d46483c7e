"""`reprolens predict` as a user types it, on a model that finds colours."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from colours import write_colours
from reprolens.__main__ import main
from reprolens.commands.predict import WRITE
from reprolens.inference.results.formats import FORMATS

SOURCE = Path(__file__).parents[2] / "src"
COLORS = {"red.jpg": "red", "below/green.png": (0, 255, 0), "below/mixed.jpg": (200, 100, 0)}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test stand in a folder of its own with export/model.onnx and some pictures in `pictures`."""
    monkeypatch.chdir(tmp_path)
    write_colours(Path("export/model.onnx"))
    for name, color in COLORS.items():
        paint(f"pictures/{name}", color)


def paint(name: str, color: object, size: tuple[int, int] = (40, 30)) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(name)  # type: ignore[arg-type]


def predict(*arguments: str) -> int:
    return main(["predict", *arguments])


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line of an error that a command ends with, having written nothing."""
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert predict(*arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert sorted(Path().rglob("*")) == before
    return said.err


def files(folder: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()}


def found(folder: str = "predictions") -> dict[str, list[str]]:
    """Return the classes found in each picture, as coco.json tells them, the surest first."""
    content = json.loads(Path(folder, "coco.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in content["categories"]}
    rows = content["annotations"]
    return {
        image["file_name"]: [names[row["category_id"]] for row in rows if row["image_id"] == image["id"]]
        for image in content["images"]
    }


def test_pictures_are_drawn_and_written_as_coco_unless_told_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("export", "pictures") == 0
    assert files("predictions") == {"about.json", "coco.json", *(f"images/{name}" for name in COLORS)}
    assert found() == {"below/green.png": ["green"], "below/mixed.jpg": ["red", "green"], "red.jpg": ["red"]}
    said = capsys.readouterr()
    assert said.err == "predict: export is export/model.onnx\n" and said.out.endswith(" pictures/s (predictions)\n")
    assert said.out.startswith("predict: 3 pictures, 4 detections (3 drawn, those from score 0.5 up), ")


def test_every_format_can_be_written_at_once() -> None:
    assert set(WRITE) == set(FORMATS)
    assert predict("export/model.onnx", "pictures", "--write", ",".join(WRITE), "--out", "out/all") == 0
    expected = {"about.json", "coco.json", "predictions.csv", "labels.txt", "classes.txt"}
    for name in COLORS:
        stem = name.rpartition(".")[0]
        expected |= {f"images/{name}", f"Annotations/{stem}.xml", f"labels/{stem}.txt"}
    assert files("out/all") == expected


def test_the_same_run_gives_the_same_bytes() -> None:
    for out in ("one", "two"):
        assert predict("export", "pictures", "--write", ",".join(WRITE), "--out", out) == 0
    assert files("one") == files("two")
    assert all(Path("one", name).read_bytes() == Path("two", name).read_bytes() for name in files("one"))


def test_batches_change_nothing() -> None:
    paint("pictures/other.png", "blue", (31, 17))
    lines = []
    for batch in ("1", "2", "7"):
        assert predict("export", "pictures", "--batch", batch, "--json", f"{batch}.jsonl") == 0
        lines.append(Path(f"{batch}.jsonl").read_text())
    assert lines[0] == lines[1] == lines[2] and lines[0].count("\n") == 4


def test_threshold_leaves_out_what_is_below() -> None:
    assert predict("export", "pictures", "--threshold", "0.5") == 0
    assert found()["below/mixed.jpg"] == ["red"]


def test_threshold_below_the_models_own_is_an_error_because_it_would_find_nothing_more(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = refusal(capsys, "export", "pictures", "--threshold", "0.05")
    assert "--threshold 0.05: export leaves out what is below 0.1" in said
    assert said.endswith("set model.score_threshold=0.05 and run dvc repro (it trains again)\n")
    assert predict("export", "pictures", "--threshold", "0.1") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "2"], "from 0 to 1"),
        (["--threshold", "nan"], "from 0 to 1"),
        (["--batch", "0"], "--batch 0: must be at least 1"),
        (["--threads", "0"], "--threads 0: must be at least 1"),
        (["--every", "-1"], "--every -1: must be at least 1"),
        (["--write", "coca"], "did you mean coco?"),
        (["--write", ""], "names no format"),
        (["--json", ""], "- for standard output"),
        (["--json", "pictures"], "- for standard output"),
        (["--out", "pictures/red.jpg"], "is a file"),
        (["absent/*.jpg"], "absent/*.jpg"),
        (["absent.jpg"], "absent.jpg: there is no such file"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refusal(capsys, "export", "pictures", *arguments)


def test_unreadable_pictures_are_told_and_left_out_and_the_others_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures/below/bad.jpg").write_bytes(Path("pictures/red.jpg").read_bytes()[:200])
    Path("pictures/empty.png").touch()
    assert predict("export", "pictures", "--write", "coco,voc") == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 3
    assert "pictures/below/bad.jpg: does not decode" in said.err and "pictures/empty.png: does not decode" in said.err
    assert "3 pictures" in said.out and "2 unreadable" in said.out
    assert set(found()) == set(COLORS)


def test_json_lines_are_alone_on_standard_output_and_no_files_are_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures/bad.jpg").touch()
    assert predict("export", "pictures", "--json", "-") == 1
    said = capsys.readouterr()
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["image"] for line in lines] == ["below/green.png", "below/mixed.jpg", "red.jpg"]
    assert lines[2]["detections"][0] | {"score": 0} == {"label": "red", "class": 0, "score": 0, "box": [0, 0, 40, 30]}
    assert "bad.jpg" in said.err and "3 pictures" in said.err
    assert not Path("predictions").exists()


@pytest.mark.parametrize("more", [["--out", "predictions"], ["--write", "images,coco"]])
def test_json_and_files_together_where_files_are_asked_for(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("export", "pictures", "--json", "-", *more) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert set(found()) == set(COLORS) and Path("predictions/images/red.jpg").is_file()


@pytest.mark.parametrize(
    "file",
    [
        "pictures/red.jpg",
        "pictures/extra.json",
        "pictures/link.json",
        "export/model.onnx",
        "export/model.json",
        "notes.txt",
        "Makefile",
        "earlier/coco.json",
        "earlier/about.json",
        "predictions/coco.json",
        "predictions/images",
        "predictions/../predictions/classes.txt",
        "predictions",
        "predictions/about.json",
    ],
)
def test_json_lines_take_the_place_of_nothing_but_json_lines(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("export/model.onnx", "pictures/red.jpg", "--out", "earlier") == 0
    Path("export/model.json").write_text('{"files": {"onnx": {"file": "model.onnx"}}}')
    for name in ("notes.txt", "Makefile"):
        Path(name).write_text("precious")
    Path("pictures/extra.json").write_bytes(Path("pictures/red.jpg").read_bytes())
    Path("pictures/link.json").symlink_to("red.jpg")
    before = {name: Path(name).read_bytes() for name in files(".")}
    arguments = ["export", "pictures", "pictures/extra.json", "--json", file, "--write", "coco"]
    assert f"--json {Path(file)}: is " in refusal(capsys, *arguments)
    assert {name: Path(name).read_bytes() for name in files(".")} == before


@pytest.mark.parametrize("file", ["lines.jsonl", "lines.NDJSON", "predictions/lines.json", "new.txt"])
def test_json_lines_go_into_a_new_file_and_over_earlier_json(file: str) -> None:
    assert predict("export", "pictures", "--json", file, "--write", "coco") == 0
    assert len(Path(file).read_text().splitlines()) == 3
    if file != "new.txt":
        assert predict("export", "pictures/red.jpg", "--json", file, "--write", "coco") == 0
        assert len(Path(file).read_text().splitlines()) == 1


def test_what_ran_is_said_where_the_name_leaves_it_open(capsys: pytest.CaptureFixture[str]) -> None:
    write_colours(Path("export/model-int8.onnx"))
    for name in ("export/", "./export", "."):
        assert predict(name, "pictures", "--json", "-") == 0
        assert f"predict: {name} is export/model.onnx\n" in capsys.readouterr().err
    for name in ("export/model.onnx", "./export/model-int8.onnx"):
        assert predict(name, "pictures", "--json", "-") == 0
        assert " is " not in capsys.readouterr().err


def test_a_name_may_be_as_long_as_names_can_be() -> None:
    name = f"{'x' * 251}.jpg"
    paint(f"pictures/{name}", "red")
    assert predict("export", "pictures", "--write", ",".join(WRITE)) == 0
    assert found()[name] == ["red"] and f"images/{name}" in files("predictions")


def test_an_interrupt_ends_it_quietly_and_leaves_nothing_half_written() -> None:
    paint("many/0.png", "red")
    for number in range(1, 2000):  # more lines than a pipe holds: it waits until somebody reads
        Path(f"many/{number}.png").symlink_to("0.png")
    command = [sys.executable, "-m", "reprolens", "predict", "export", "many"]
    command += ["--json", "-", "--write", "images,coco,csv,yolo"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(
        ["env", "--default-signal=INT", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, b"predict: export is export/model.onnx\n")
    assert first["image"] == "0.png" and rest.count(b"\n") < 1999
    written = files("predictions")
    assert not {"coco.json", "predictions.csv"} & written and not any("/." in f"/{name}" for name in written)
    for name in written:
        if name.endswith(".png"):
            Image.open(Path("predictions", name)).load()


def test_whoever_has_read_enough_ends_it_quietly() -> None:
    for number in range(200):
        paint(f"many/{number}.png", "red", (64, 64))
    command = [sys.executable, "-m", "reprolens", "predict", "export", "many", "--json", "-"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        first = json.loads(process.stdout.readline())
        process.stdout.close()
        said = process.stderr.read().decode()
    assert first["image"] == "0.png" and first["detections"][0]["label"] == "red"
    assert process.returncode == 1 and said == "predict: export is export/model.onnx\n"


def test_lines_go_into_the_pipe_while_a_bar_is_drawn_on_the_terminal() -> None:
    pty = pytest.importorskip("pty")
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "reprolens", "predict", "export", "pictures", "--json", "-"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=other, env=environment)
    os.close(other)
    out, _ = process.communicate()
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert [json.loads(line)["image"] for line in out.splitlines()] == ["below/green.png", "below/mixed.jpg", "red.jpg"]
    assert "predict" in shown and '"image"' not in shown


def test_names_with_blanks_quotes_and_any_script_are_kept() -> None:
    names = ["a b.jpg", 'it\'s "quoted".png', "猫/ünïcode & <x>.jpg", "-dash.jpg", "[1].jpg", "100%.jpg"]
    for name in names:
        paint(f"odd/{name}", "red")
    assert predict("export", "odd", "--write", ",".join(WRITE)) == 0
    assert found() == {name: ["red"] for name in names}
    assert {f"images/{name}" for name in names} <= files("predictions")
    assert predict("export", *(f"odd/{name}" for name in names), "--out", "again") == 0
    assert len(found("again")) == len(names)


def test_pictures_of_the_same_name_in_two_folders_are_both_there() -> None:
    paint("one/a.jpg", "red")
    paint("two/a.jpg", "blue")
    assert predict("export", "one", "two", "--write", "images,coco,voc,yolo") == 0
    assert found() == {"one/a.jpg": ["red"], "two/a.jpg": ["blue"]}
    assert {"images/one/a.jpg", "labels/two/a.txt", "Annotations/two/a.xml"} <= files("predictions")


def test_pictures_that_differ_in_their_suffix_have_annotations_of_their_own() -> None:
    paint("one/a.jpg", "red")
    paint("one/a.png", "blue")
    assert predict("export", "one", "--write", "voc,yolo") == 0
    texts = {name: Path("predictions/labels", name).read_text()[:1] for name in ("a.txt", "a.png.txt")}
    assert texts == {"a.txt": "0", "a.png.txt": "2"}


def test_nothing_is_written_outside_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint("other/a.jpg", "red")
    paint("work/b.jpg", "red")
    before = files(".")
    monkeypatch.chdir("work")
    paths = ["../other", "../pictures/below/../red.jpg", str(tmp_path / "pictures"), "./b.jpg", "../work/../other/*"]
    assert predict("../export", *paths, "--write", ",".join(WRITE), "--out", "out/in") == 0
    monkeypatch.chdir(tmp_path)
    assert {name for name in files(".") - before if not name.startswith("work/out/in/")} == set()
    assert len(found("work/out/in")) == 5  # each picture once, by whatever way it was named
    assert all(".." not in name and not name.startswith("/") for name in found("work/out/in"))


def test_a_second_run_looks_at_the_pictures_again_and_not_at_what_it_drew() -> None:
    for _ in range(2):
        assert predict("export", ".", "--out", "pictures/found") == 0
        assert set(found("pictures/found")) == {f"pictures/{name}" for name in COLORS}


def test_a_second_run_replaces_files_of_the_same_names_and_leaves_others_alone() -> None:
    assert predict("export", "pictures") == 0
    paint("pictures/red.jpg", "blue")
    assert predict("export", "pictures/red.jpg") == 0
    assert found() == {"red.jpg": ["blue"]} and Path("predictions/images/below/green.png").is_file()


def test_labels_of_a_data_set_are_never_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    Path("data/labels").mkdir(parents=True)
    Path("data/labels/red.txt").write_text("0 0.5 0.5 1 1\n")
    paint("data/images/red.jpg", "red")
    for _ in range(2):
        for name, format in (("labels", "yolo"), ("images", "images")):
            said = refusal(capsys, "export", "pictures", "--out", "data", "--write", format)
            assert f"holds {name}, which predict did not write" in said
        assert predict("export", "data", "--out", "data", "--write", "csv") == 0  # now some of it is predict's
    assert "where they are drawn" in refusal(capsys, "export", "data/images", "--out", "data")


def test_drawn_pictures_are_looked_at_when_named_but_not_drawn_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert predict("export", "pictures") == 0
    assert "where they are drawn" in refusal(capsys, "export", "predictions/images")
    assert predict("export", "predictions/images", "--out", "again") == 0
    assert set(found("again")) == set(COLORS)
    assert "but those that predict itself drew" in refusal(capsys, "export", "pred*/**/*.jpg", "--out", "third")


def test_frames_of_a_video_are_pictures() -> None:
    av = pytest.importorskip("av")
    with av.open("film.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for color in ("red", "red", "blue", "blue", "blue"):
            for packet in stream.encode(av.VideoFrame.from_image(Image.new("RGB", (64, 48), color))):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    assert predict("export", "film.mp4", "--every", "2", "--threshold", "0.8", "--write", "images,coco,csv") == 0
    names = [f"film.mp4/{index:06d}.jpg" for index in (0, 2, 4)]
    assert found() == dict(zip(names, (["red"], ["blue"], ["blue"]), strict=True))
    assert {f"images/{name}" for name in names} <= files("predictions")


def test_help_says_what_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        predict("--help")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in WRITE)
    assert "coco.json and predictions.csv are written at the end" in said
    assert "with - as soon as it was looked at, in a FILE at the end" in said
    assert all(target.split("/")[0] in said for one in FORMATS.values() for target in one.targets)
