"""Laws of a run's transaction log: what was written whole is read, what is torn is cut off, what was sent is left out.

The logs are wandb's own, written offline; what is read back is read by the test's own reader too.
"""

import json
import os
import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reprolens.config.schema import Mode
from reprolens.errors import TrackingError
from reprolens.tracking.identity import identify
from reprolens.tracking.publish import publish
from reprolens.tracking.run import log_history, open_run
from reprolens.tracking.session import session, stage_artifacts_in
from reprolens.tracking.sync import Fate, send
from reprolens.tracking.transaction_log import (
    _append,
    _parts,
    _records,
    _scan,
    find_log,
    is_synced,
    mark_synced,
    missing_files,
    read_log,
    repair,
    write_rest,
)

HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32768
ROWS = 300
LONG = "x" * 100_000


class Written(NamedTuple):
    """A run that wandb wrote offline, and where each of its records ends."""

    path: Path
    ends: tuple[int, ...]


@pytest.fixture(scope="module")
def written(build: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Return a run of many rows, one of them longer than three blocks, with a file of its own and closed."""
    repository = build(tmp_path_factory.mktemp("repository"))
    rows: list[dict[str, Any]] = [{"epoch": epoch, "train/loss": 1 / (epoch + 1)} for epoch in range(ROWS)]
    rows[ROWS // 2] |= {"text": LONG}
    with session():
        run = open_run(repository.root, repository.config, identify(repository.root, repository.config), Mode.offline)
        stage_artifacts_in(run)
        log_history(run, rows)
        run.finish()
    path = find_log(next((repository.root / "wandb").glob("offline-run-*")))
    return Written(path, tuple(end for end, _ in _scan(path, path.read_bytes())))


@pytest.fixture
def torn(written: Written, tmp_path: Path) -> Callable[[int], Path]:
    """Cut a copy of the run off after so many bytes."""
    data, folder = written.path.read_bytes(), tmp_path / written.path.parent.name
    folder.mkdir()

    def tear(length: int) -> Path:
        (folder / written.path.name).write_bytes(data[:length])
        return folder / written.path.name

    return tear


def frame(path: Path, records: list[bytes]) -> bytes:
    """Write records as the log has them."""
    with path.open("wb") as file:
        file.write(HEADER)
        for record in records:
            _append(file, record)
    return path.read_bytes()


def epochs(path: Path) -> list[int | None]:
    """Return the epochs of the rows of the history, in their order."""
    found = []
    for record in _records(path):
        if record.WhichOneof("record_type") == "history":
            values = {
                "/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item
            }
            found.append(values.get("epoch"))
    return found


def steps(path: Path) -> list[int]:
    """Return the steps of the rows of the history, which each row must say in both of its places."""
    rows = [record.history for record in _records(path) if record.WhichOneof("record_type") == "history"]
    inner = [
        json.loads(item.value_json) for row in rows for item in row.item if "_step" in (item.key, *item.nested_key)
    ]
    assert inner == [row.step.num for row in rows]
    return inner


def kinds(path: Path) -> list[str]:
    """Return what kinds of records there are besides the history's, in their order."""
    return [kind for record in _records(path) if (kind := record.WhichOneof("record_type")) != "history"]


# Around the end of a block, where a record may leave less room than a header takes, just that, or a byte more.
SIZES = st.one_of(
    st.integers(0, 40),
    st.integers(BLOCK - 40, BLOCK + 40),
    st.integers(2 * BLOCK - 60, 2 * BLOCK + 60),
    st.integers(0, 3 * BLOCK),
)


@given(st.lists(SIZES, max_size=6), st.integers(0, 255))
@example([BLOCK - 14], 1)  # fills the first block behind the header
@example([BLOCK - 21], 1)  # leaves room for a header alone
@example([BLOCK - 21, 0, 0], 1)
@example([*[BLOCK - 14 - rest for rest in range(1, 8)]], 1)
@settings(max_examples=100, deadline=None)
def test_records_of_any_size_are_read_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], byte: int
) -> None:
    records = [bytes([(byte + number) % 256]) * size for number, size in enumerate(sizes)]
    path = tmp_path_factory.mktemp("log") / "run-x.wandb"
    data = frame(path, records)
    assert [record for _, record in _scan(path, data)] == records
    ends = [end for end, _ in _scan(path, data)]
    assert ends == sorted(ends) and (ends or [len(HEADER)])[-1] == len(data)


@given(st.lists(SIZES, min_size=1, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_a_log_cut_off_anywhere_reads_as_its_first_records(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], chosen: st.DataObject
) -> None:
    records = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
    path = tmp_path_factory.mktemp("log") / "run-x.wandb"
    data = frame(path, records)
    length = chosen.draw(st.integers(len(HEADER), len(data)))
    path.write_bytes(data[:length])
    whole = [end for end, _ in _scan(path, data) if end <= length]
    kept = (whole or [len(HEADER)])[-1]
    assert repair(path) == length - kept
    if kept < length:
        assert path.with_name("run-x.wandb.torn").read_bytes() == data[kept:length]
    assert [record for _, record in _scan(path, path.read_bytes())] == records[: len(whole)]
    assert repair(path) == 0


@given(st.lists(SIZES, min_size=1, max_size=4), st.data())
@settings(max_examples=100, deadline=None)
def test_a_byte_that_changed_is_never_read_as_another_record(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], chosen: st.DataObject
) -> None:
    records = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
    path = tmp_path_factory.mktemp("log") / "run-x.wandb"
    data = bytearray(frame(path, records))
    place = chosen.draw(st.integers(len(HEADER), len(data) - 1))
    data[place] ^= chosen.draw(st.integers(1, 255))
    read = [record for _, record in _scan(path, bytes(data))]
    assert read == records[: len(read)]


@given(st.lists(SIZES, min_size=2, max_size=4), st.data())
@example([BLOCK - 14, 10], None)  # whose last record has a block of its own
@settings(max_examples=100, deadline=None)
def test_a_log_that_is_damaged_before_its_last_part_is_refused_and_left_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], chosen: st.DataObject | None
) -> None:
    records = [random.Random(number).randbytes(size) for number, size in enumerate(sizes)]
    path = tmp_path_factory.mktemp("log") / "run-x.wandb"
    data = bytearray(frame(path, records))
    last = max(end - len(part) - len(HEADER) for end, _, part in _parts(bytes(data)))
    place = chosen.draw(st.integers(len(HEADER), last - 1)) if chosen else len(HEADER)
    data[place] ^= 1
    path.write_bytes(data)
    if [record for _, record in _scan(path, bytes(data))] == records:
        return  # it was the padding of a block
    with pytest.raises(TrackingError, match=r"is damaged at byte \d+, in the middle$"):
        repair(path)
    assert path.read_bytes() == data and [*path.parent.iterdir()] == [path]


def test_what_is_framed_here_is_what_wandb_frames(written: Written, tmp_path: Path) -> None:
    records = [record for _, record in _scan(written.path, written.path.read_bytes())]
    assert len(records) > ROWS and max(map(len, records)) > 3 * BLOCK
    assert frame(tmp_path / "run-x.wandb", records) == written.path.read_bytes()


def test_a_whole_log_says_what_the_run_is(written: Written) -> None:
    log = read_log(written.path)
    assert ([row["epoch"] for row in log.rows], log.exit_code, log.project) == ([*range(ROWS)], 0, "reprolens")
    assert log.path.name == f"run-{log.id}.wandb" and log.name == "fcos_mobilenet_v2-digits-seed1"
    assert log.summary["epoch"] == ROWS - 1
    assert repair(written.path) == 0


def test_a_log_torn_at_any_byte_of_its_last_records_is_mended_to_those_before(
    written: Written, torn: Callable[[int], Path]
) -> None:
    whole = list(_scan(written.path, written.path.read_bytes()))
    for length in range(written.ends[-4], written.ends[-1] + 1):
        path = torn(length)
        last = max(end for end in written.ends if end <= length)
        assert repair(path) == length - last
        assert path.stat().st_size == last
        assert list(_scan(path, path.read_bytes())) == [record for record in whole if record[0] <= last]


def test_a_log_torn_anywhere_behind_its_first_records_still_says_which_run_it_is(
    written: Written, torn: Callable[[int], Path]
) -> None:
    first = next(end for end, _ in _scan(written.path, written.path.read_bytes()) if end > 8000)
    whole = epochs(written.path)
    for length in random.Random(1).sample(range(first, written.ends[-1]), 25):
        path = torn(length)
        repair(path)
        log, rows = read_log(path), epochs(path)
        assert log.id == read_log(written.path).id and log.exit_code is None
        assert rows == whole[: len(rows)] and [row["epoch"] for row in log.rows] == rows


@pytest.mark.parametrize(
    "sent", [[], [0], [0, 1], range(ROWS // 2), range(ROWS - 1), range(ROWS), [2, 5, ROWS - 1], range(0, ROWS, 2)]
)
def test_the_rest_is_the_run_without_the_rows_that_were_sent_numbered_on_from_those(
    written: Written, tmp_path: Path, sent: Sequence[int]
) -> None:
    rest = tmp_path / "rest.wandb"
    write_rest(read_log(written.path), rest, "somebody", sent, len(sent))
    assert epochs(rest) == [epoch for epoch in range(ROWS) if epoch not in sent]
    assert steps(rest) == [*range(len(sent), ROWS)]
    assert kinds(rest) == kinds(written.path)
    log, rest_log = read_log(written.path), read_log(rest)
    assert (rest_log.id, rest_log.summary, rest_log.exit_code) == (log.id, log.summary, 0)
    assert (log.entity, rest_log.entity) == ("", "somebody")


@pytest.fixture
def published(repository: Any) -> Path:
    """Return the log of a whole run."""
    return find_log(repository.root / publish(repository.root, repository.config)["folder"])


def test_the_row_of_the_pictures_can_be_sent_behind_what_is_there(published: Path, tmp_path: Path) -> None:
    log, rest = read_log(published), tmp_path / "rest.wandb"
    assert epochs(published) == [1, 2, 3, 4, 5, None]
    write_rest(log, rest, "", range(1, 6), 8, pictures=False)
    assert (epochs(rest), steps(rest)) == ([], [])
    write_rest(log, rest, "", range(1, 6), 8)
    assert (epochs(rest), steps(rest)) == ([None], [8])
    write_rest(log, rest, "", [1, 2, 3], 3)
    assert (epochs(rest), steps(rest)) == ([4, 5, None], [3, 4, 5])
    write_rest(log, rest)
    assert (epochs(rest), steps(rest)) == (epochs(published), steps(published))


def test_the_files_of_a_folder_that_was_moved_are_found(published: Path, repository: Any, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere" / published.parent.name
    shutil.move(published.parent, folder)
    log = read_log(folder / published.name)
    assert len(log.files) > 5 and len([path for item in log.artifacts for path in item.files]) > 5
    assert missing_files(log) == []
    rest = folder / "rest.wandb"
    write_rest(log, rest)
    places = {file.path for artifact in read_log(rest).artifacts for file in artifact.files}
    assert places and all(path.is_file() and path.is_relative_to(folder) for path in places)
    model = (repository.root / "weights" / "model.pt").read_bytes()
    assert model in [path.read_bytes() for path in places]


@pytest.mark.parametrize("kind", ["media", "artifact"])
def test_a_file_that_is_gone_is_named(published: Path, kind: str) -> None:
    log = read_log(published)
    assert missing_files(log) == []
    media = [published.parent / "files" / name for name in log.files]
    gone = media[0] if kind == "media" else log.artifacts[0].files[0].path
    gone.unlink()
    assert missing_files(log) == [gone]


@pytest.mark.parametrize(
    "data",
    [b"", b":W", b"PK\x03\x04" + bytes(100), b"not a log\n" * 1000, HEADER, HEADER + bytes(5), HEADER + bytes(BLOCK)],
)
def test_what_is_no_log_of_a_run_is_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(data)
    with pytest.raises(TrackingError) as raised:
        read_log(path)
    said = str(raised.value)
    assert said in (f"{path}: is no transaction log of W&B; remove it", f"{path}: holds no run")
    assert said.endswith("remove it") is not data.startswith(HEADER[:4])


def test_a_record_that_wandb_does_not_know_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    frame(path, [b"\xff" * 30])
    with pytest.raises(TrackingError, match="written by a version of wandb that this one cannot read"):
        read_log(path)


def test_a_folder_without_a_log_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="has no transaction log"):
        find_log(tmp_path)


def test_a_run_is_marked_as_sent_where_wandb_looks_for_it(torn: Callable[[int], Path], written: Written) -> None:
    path = torn(written.ends[-1])
    assert not is_synced(path)
    mark_synced(path)
    assert is_synced(path) and path.with_name(f"{path.name}.synced").is_file()
    assert find_log(path.parent) == path


def test_what_is_left_of_a_torn_run_is_sent(server: Any, torn: Callable[[int], Path], written: Written) -> None:
    path = torn(written.ends[-20] + 5)
    old = time.time() - 3600
    os.utime(path, (old, old))  # nothing writes it any more
    (sent,) = send([path], 60)
    assert (sent.fate, sent.reason, sent.cut) == (Fate.sent, "", 5)
    (run,) = server.runs.values()
    rows = [row["epoch"] for row in run.history]
    assert rows == epochs(path) and ROWS - 25 < len(rows) < ROWS
    assert is_synced(path)
