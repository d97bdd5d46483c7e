"""The study on disk."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from reprolens.errors import ConfigError, SweepError
from reprolens.sweeps.search.settings import read_settings
from reprolens.sweeps.search.study import open_study, storage_errors


@pytest.mark.parametrize("sqlite", [False, True])
def test_study_is_resumed_by_name(sqlite: bool, search: Any, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}" if sqlite else None
    sweep, settings = search(storage=storage)
    study = open_study(sweep, settings)
    trial = study.ask(settings.space.dimensions)
    study.tell(trial, 0.5)
    assert open_study(sweep, read_settings(sweep)).best_trial.params == trial.params
    assert len(open_study(*search(storage=storage, study_name="other")).trials) == 0


def test_settings_survive_their_file(search: Any) -> None:
    sweep, settings = search("+a='x,y',[1,2]", "b=range(1,9,2)", "c=tag(log,interval(1,2))", "d=1", n_trials=7)
    assert read_settings(sweep) == settings
    (sweep / "search.json").write_text("{}")
    with pytest.raises(SweepError, match="not a search's settings"):
        read_settings(sweep)


@pytest.mark.parametrize(
    ("arguments", "changes", "advice"),
    [
        ((), {"directions": ("minimize",)}, "was made to maximize, not to minimize"),
        ((), {"metrics": ("coco/map",)}, "was made for voc12/map50, not for coco/map"),
        (("optimizer.lr=tag(log,interval(1e-4,1e-2))", "seed=1,2"), {}, "searched optimizer.lr, not"),
        (("optimizer.lr=1e-3,1e-2",), {}, "searched other values of optimizer.lr"),
    ],
)
def test_study_of_another_search_is_refused(arguments: Any, changes: Any, advice: str, search: Any) -> None:
    sweep, settings = search()
    study = open_study(sweep, settings)
    study.tell(study.ask(settings.space.dimensions), 0.5)
    with pytest.raises(SweepError, match=advice) as error:
        open_study(*search(*arguments, **changes))
    assert "\n" not in str(error.value)


def test_study_in_a_database_belongs_to_one_folder(search: Any, tmp_path: Path) -> None:
    sweep, settings = search(storage=f"sqlite:///{tmp_path / 'studies.db'}")
    open_study(sweep, settings)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(SweepError, match="is searched in"):
        open_study(tmp_path / "elsewhere", settings)


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/a.db", "nosuch://x", "text"])
def test_storage_that_cannot_be_opened_is_named(url: str, search: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be opened") as error:
        open_study(*search(storage=url))
    assert "\n" not in str(error.value)


def test_half_a_line_of_the_journal_is_removed(search: Any) -> None:
    sweep, settings = search()
    study = open_study(sweep, settings)
    study.tell(study.ask(settings.space.dimensions), 0.5)
    with (sweep / "study.journal").open("ab") as file:
        file.write(b'{"op_code": 4, "worker')  # as a full disk or a machine that fails leaves it
    study = open_study(sweep, settings)
    study.tell(study.ask(settings.space.dimensions), 0.7)
    assert [trial.value for trial in open_study(sweep, settings).trials] == [0.5, 0.7]


def test_lock_of_a_killed_process_is_free_at_once(search: Any) -> None:
    sweep, settings = search()
    study = open_study(sweep, settings)
    holds = (
        "import sys, time; from pathlib import Path; from reprolens.sweeps.search.journal import JournalLock;"
        "JournalLock(Path(sys.argv[1])).acquire(); print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holds, str(sweep / "study.journal")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        os.kill(process.pid, signal.SIGKILL)
    start = time.monotonic()
    study.ask(settings.space.dimensions)
    assert time.monotonic() - start < 2


def test_full_disk_ends_in_one_line_and_damages_nothing(search: Any) -> None:
    sweep, settings = search()
    study = open_study(sweep, settings)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (sweep / "study.journal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))  # 10 bytes more, then no room
    try:
        with pytest.raises(SweepError, match="cannot be read or written"), storage_errors(sweep):
            study.ask(settings.space.dimensions)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    study = open_study(sweep, settings)
    study.tell(study.ask(settings.space.dimensions), 0.5)
    assert study.best_value == 0.5
