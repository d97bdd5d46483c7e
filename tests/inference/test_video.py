"""Frames of a video: which, in what order, upright, and what is said where there are none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reprolens.errors import DataError
from reprolens.inference.video import read_frames

Write = Callable[..., Path]
END = {0: range(8), -1: range(-8, 0)}
"""The rows or columns at either end."""


def indices(frames: list[tuple[int, np.ndarray]]) -> list[int]:
    """Return which frames they are by what they show."""
    return [round(float(np.median(pixels[-12:, -16:])) / 12) for _, pixels in frames]


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "libx264"), ("avi", "mpeg4"), ("mkv", "ffv1"), ("webm", "libvpx")]
)
def test_every_frame_comes_once_and_in_order(write_film: Write, tmp_path: Path, suffix: str, codec: str) -> None:
    frames = list(read_frames(write_film(tmp_path / f"film.{suffix}", 12, codec)))
    assert [index for index, _ in frames] == list(range(12))
    assert indices(frames) == list(range(12))
    for _, pixels in frames:
        assert (pixels.shape, pixels.dtype) == ((48, 64, 3), np.uint8)
        assert pixels[4:20, 4:28].min() > 200


def test_every_third_frame_keeps_its_index(write_film: Write, tmp_path: Path) -> None:
    frames = list(read_frames(write_film(tmp_path / "film.mp4", 11), every=3))
    assert [index for index, _ in frames] == indices(frames) == [0, 3, 6, 9]
    assert [index for index, _ in read_frames(tmp_path / "film.mp4", every=100)] == [0]


@pytest.mark.parametrize(
    ("degrees", "shape", "corner"), [(90, (64, 48), (-1, 0)), (180, (48, 64), (-1, -1)), (-90, (64, 48), (0, -1))]
)
def test_frames_are_upright(
    write_film: Write, tmp_path: Path, degrees: int, shape: tuple[int, int], corner: tuple[int, int]
) -> None:
    (_, pixels), *_ = read_frames(write_film(tmp_path / "film.mp4", 2, degrees=degrees))
    assert pixels.shape == (*shape, 3)
    assert pixels.flags.c_contiguous
    corners = {
        place: float(pixels[np.ix_(*(END[side] for side in place))].mean())
        for place in ((0, 0), (0, -1), (-1, 0), (-1, -1))
    }
    assert max(corners, key=lambda place: corners[place]) == corner


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(read_frames(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "film.mp4"
    for content in (b"", b"no video", b"\0\0\0\x18ftypmp42" + b"\0" * 100, np.random.default_rng(0).bytes(5000)):
        path.write_bytes(content)
        assert "does not decode" in refusal(path)
    refusal(tmp_path / "nowhere.mp4")
    assert capfd.readouterr() == ("", "")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "sound.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert "no video" in refusal(path)


def test_damaged_video_gives_the_frames_that_decode_and_then_says_so(write_film: Write, tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 20)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat")
    middle, size = start + int.from_bytes(data[start - 4 : start]) // 2, 4000
    data[middle : middle + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)
    seen = []
    with pytest.raises(DataError) as caught:
        for index, pixels in read_frames(path):
            seen.append((index, pixels))
    assert "does not decode" in str(caught.value)
    assert [index for index, _ in seen] == list(range(len(seen)))
    assert 5 < len(seen) < 20
    shown = indices(seen)
    assert shown == sorted(set(shown))
