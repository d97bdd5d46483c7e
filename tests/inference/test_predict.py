"""Whatever goes in comes out, in its order, however it is batched and whatever is broken between."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from reprolens.errors import ExportError
from reprolens.inference import predict as module
from reprolens.inference.model import Found, Model, Pixels
from reprolens.inference.onnx_model import OnnxModel
from reprolens.inference.predict import predict
from reprolens.inference.seen import Seen, Unreadable
from reprolens.inference.sources import Source, find_pictures

Write = Callable[..., Path]


class Watched(Model):
    """A model that remembers the shapes it was given."""

    def __init__(self, model: Model) -> None:
        self._model, self.contract, self.shapes = model, model.contract, []

    def __call__(self, images: Pixels) -> list[Found]:
        self.shapes.append(images.shape)
        return self._model(images)


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> Source:
    Image.new("RGB", size, colour).save(path)
    return Source(path.name, path)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from(["wide", "high", "broken", "missing"]), max_size=40),
    batch=st.integers(1, 5),
    fixed=st.sampled_from([None, 1, 3]),
)
def test_everything_comes_back_in_order_in_batches_of_one_size(
    write_colours: Write, tmp_path: Path, kinds: list[str], batch: int, fixed: int | None
) -> None:
    sources = []
    for number, kind in enumerate(kinds):
        source = Source(f"{number}.png", tmp_path / f"{number}.png")
        if kind == "broken":
            source.path.write_bytes(b"broken")
        elif kind == "missing":
            source.path.unlink(missing_ok=True)
        else:
            paint(source.path, (60 + 4 * number, 0, 0), (6, 4) if kind == "wide" else (4, 6))
        sources.append(source)
    model = Watched(OnnxModel(write_colours(f"{fixed}.onnx", batch=fixed), threads=1))
    given_back = list(predict(model, sources, batch))
    assert [item.name for item in given_back] == [source.name for source in sources]
    for number, (kind, item) in enumerate(zip(kinds, given_back, strict=True)):
        if kind in ("broken", "missing"):
            assert isinstance(item, Unreadable)
            assert str(tmp_path) not in item.reason
        else:
            assert isinstance(item, Seen)
            assert item.frame is None
            assert item.pixels.shape == ((4, 6, 3) if kind == "wide" else (6, 4, 3))
            assert item.found.scores.tolist() == pytest.approx([(60 + 4 * number) / 255])
    assert all(shape[0] <= min(batch, fixed or batch) for shape in model.shapes)


def test_pictures_of_one_size_go_through_together(write_colours: Write, tmp_path: Path) -> None:
    model = Watched(OnnxModel(write_colours(), threads=1))
    sources = [paint(tmp_path / f"{number}.png", (number, 0, 0)) for number in range(10)]
    assert len(list(predict(model, sources, 4))) == 10
    assert [shape[0] for shape in model.shapes] == [4, 4, 2]


def test_huge_pictures_do_not_share_a_batch(
    write_colours: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PIXELS", 60)
    model = Watched(OnnxModel(write_colours(), threads=1))
    list(predict(model, [paint(tmp_path / f"{number}.png", (9, 9, 9)) for number in range(5)], 4))
    assert [shape[0] for shape in model.shapes] == [2, 2, 1]


def test_threshold_keeps_what_reaches_it(write_colours: Write, tmp_path: Path) -> None:
    model = OnnxModel(write_colours(), threads=1)
    source = paint(tmp_path / "x.png", (255, 102, 51))
    for threshold, expected in ((None, [0, 1, 2]), (0.1, [0, 1, 2]), (0.3, [0, 1]), (1.0, [0]), (1.1, [])):
        (seen,) = predict(model, [source], 1, threshold)
        assert isinstance(seen, Seen)
        assert seen.found.labels.tolist() == expected


def test_little_is_read_ahead_and_nothing_after_the_end(
    write_colours: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = OnnxModel(write_colours(), threads=1)
    sources = [paint(tmp_path / f"{number}.png", (9, 9, 9)) for number in range(200)]
    read: list[str] = []
    real = module.read_picture
    monkeypatch.setattr(module, "read_picture", lambda path: (read.append(path.name), real(path))[1])
    before = threading.active_count()
    stream = predict(model, sources, 2)
    for _ in range(20):
        next(stream)
    stream.close()
    assert 20 <= len(read) <= 20 + 2 + module.AHEAD
    assert threading.active_count() == before


def test_frames_of_a_video_are_pictures_of_their_own(write_colours: Write, write_film: Write, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_film(tmp_path / "in" / "film.mp4", 7)
    paint(tmp_path / "in" / "a.png", (255, 0, 0))
    paint(tmp_path / "in" / "z.png", (0, 255, 0))
    (tmp_path / "in" / "y.mp4").write_bytes(b"broken")
    items = list(predict(OnnxModel(write_colours(), threads=1), find_pictures([tmp_path / "in"]), 4, every=3))
    names = ["a.png", "film.mp4/000000", "film.mp4/000003", "film.mp4/000006", "y.mp4", "z.png"]
    assert [item.name for item in items] == names
    assert [item.frame for item in items if isinstance(item, Seen)] == [None, 0, 3, 6, None]
    assert [isinstance(item, Unreadable) for item in items] == [name == "y.mp4" for name in names]


def test_missing_extra_is_told_before_anything_is_done(
    write_colours: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ExportError("videos need the extra video: pip install av")

    monkeypatch.setattr(module, "check_video", missing)
    sources = [paint(tmp_path / "a.png", (9, 9, 9)), Source("b.mp4", tmp_path / "b.mp4")]
    with pytest.raises(ExportError):
        next(predict(OnnxModel(write_colours(), threads=1), sources, 1))


def test_nothing_gives_nothing(write_colours: Write) -> None:
    assert list(predict(OnnxModel(write_colours(), threads=1), [], 8)) == []


def test_same_pictures_give_the_same_bytes(write_colours: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (20 + number % 3, 30, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    model, sources = OnnxModel(write_colours(postprocess=False), threads=1), find_pictures([tmp_path / "*.png"])
    alone, together = (list(predict(model, sources, batch)) for batch in (1, 8))
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, Seen)
        assert isinstance(other, Seen)
        assert one.found.scores.tobytes() == other.found.scores.tobytes()
        assert one.found.boxes.tobytes() == other.found.boxes.tobytes()
