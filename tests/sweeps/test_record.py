"""Records of sweeps and trials: what is written is read, and damage is one line."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reprolens.errors import SweepError
from reprolens.sweeps.record import (
    Status,
    Sweep,
    Trial,
    read_sweep,
    read_trial,
    read_trials,
    trial_folder,
    write_sweep,
    write_trial,
)

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
STAGE = st.fixed_dictionaries({"seconds": NUMBERS, "executed": st.booleans()})
TRIALS = st.builds(
    Trial,
    number=st.integers(0, 10**6),
    id=st.text("0123456789abcdef", min_size=8, max_size=8),
    parameters=st.dictionaries(TEXTS, VALUES, max_size=4),
    status=st.sampled_from(Status),
    values=st.none() | st.lists(NUMBERS, max_size=3).map(tuple),
    error=st.none() | TEXTS,
    tail=st.lists(TEXTS, max_size=3).map(tuple),
    stages=st.dictionaries(TEXTS, STAGE, max_size=3),
    code=st.none() | TEXTS,
    experiment=st.none() | TEXTS,
    started=st.none() | NUMBERS,
    finished=st.none() | NUMBERS,
)
SWEEPS = st.builds(
    Sweep,
    name=TEXTS,
    overrides=st.lists(TEXTS, max_size=3).map(tuple),
    metrics=st.lists(TEXTS, max_size=3).map(tuple),
    directions=st.lists(TEXTS, max_size=3).map(tuple),
    trials=st.lists(st.integers(0), max_size=3).map(tuple),
    total=st.integers(0),
    tree=TEXTS,
    baseline=TEXTS,
    cache=TEXTS,
    started=NUMBERS,
)
SWEEP = Sweep("s", ("a=1,2",), ("map",), ("maximize",), (0, 1), 2, "t", "b", "c", 1.0)


@given(trial=TRIALS)
def test_trial_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, trial: Trial) -> None:
    sweep = tmp_path_factory.getbasetemp() / "records"
    write_trial(sweep, trial)
    read = read_trial(trial_folder(sweep, trial.number))
    assert read == trial
    assert read is not None and isinstance(read.status, Status) and hash((read.values, read.tail)) is not None


@given(sweep=SWEEPS)
def test_sweep_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, sweep: Sweep) -> None:
    folder = tmp_path_factory.getbasetemp() / "records"
    write_sweep(folder, sweep)
    assert read_sweep(folder) == sweep


def test_objectives_that_json_made_whole_numbers_are_floats_again(tmp_path: Path) -> None:
    write_trial(tmp_path, Trial(0, "", {}, values=(1.0,)))
    path = tmp_path / "0" / "trial.json"
    path.write_text(path.read_text().replace("1.0", "1"))
    trial = read_trial(tmp_path / "0")
    assert trial is not None and trial.values is not None and isinstance(trial.values[0], float)


def test_trials_come_in_the_order_of_their_numbers_and_other_folders_are_none(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        write_trial(tmp_path, Trial(number, "", {}))
    write_trial(tmp_path / "0", Trial(7, "", {}))
    (tmp_path / "3").mkdir()
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "trial.json").write_text("{")
    assert [trial.number for trial in read_trials(tmp_path)] == [0, 2, 10]


def test_place_without_records_has_no_trials(tmp_path: Path) -> None:
    assert read_trial(tmp_path) is None
    assert read_trials(tmp_path / "none") == []
    with pytest.raises(SweepError, match=r"no sweep here \(sweep.json is missing\)"):
        read_sweep(tmp_path)


def test_seconds_are_known_when_a_run_has_ended() -> None:
    assert Trial(0, "", {}, started=1.0, finished=3.5).seconds == 2.5
    assert Trial(0, "", {}, started=1.0).seconds is None
    assert Trial(0, "", {}).seconds is None


def damaged(read: Any, path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with pytest.raises(SweepError) as caught:
        read(path.parent)
    line = str(caught.value)
    assert line.startswith(f"{path}: ") and "\n" not in line
    assert line.endswith(f"remove the folder {path.parent}")


BROKEN = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"unknown": 1}']


@pytest.mark.parametrize(
    "data",
    [
        *BROKEN,
        b'{"number": 0, "id": "a", "parameters": {}, "status": "lost"}',
        b'{"number": 0, "id": "a", "parameters": {}, "values": ["x"]}',
        b'{"number": 0, "id": "a", "parameters": {}, "values": 1}',
        b'{"number": 0, "id": "a", "parameters": {}, "tail": null}',
        b'{"number": 0, "id": "a", "parameters": {}, "more": 1}',
    ],
)
def test_damaged_trial_is_one_line_that_says_what_to_do(tmp_path: Path, data: bytes) -> None:
    damaged(read_trial, tmp_path / "0" / "trial.json", data)
    with pytest.raises(SweepError):
        read_trials(tmp_path)


@pytest.mark.parametrize("data", BROKEN)
def test_damaged_sweep_is_one_line_that_says_what_to_do(tmp_path: Path, data: bytes) -> None:
    damaged(read_sweep, tmp_path / "s" / "sweep.json", data)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_half_a_record_is_one_line(tmp_path: Path, share: float) -> None:
    write_sweep(tmp_path / "s", SWEEP)
    data = (tmp_path / "s" / "sweep.json").read_bytes()
    damaged(read_sweep, tmp_path / "s" / "sweep.json", data[: int(len(data) * share)])


def test_record_that_is_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "trial.json").mkdir()
    with pytest.raises(SweepError, match=r"cannot be read") as caught:
        read_trial(tmp_path)
    assert "\n" not in str(caught.value)


def test_records_are_plain_json_that_other_programs_read(tmp_path: Path) -> None:
    write_trial(tmp_path, Trial(3, "0a", {"optimizer.lr": 0.1}, Status.pruned, (0.5,)))
    value = json.loads((tmp_path / "3" / "trial.json").read_text())
    assert (value["status"], value["values"], value["parameters"]) == ("pruned", [0.5], {"optimizer.lr": 0.1})
