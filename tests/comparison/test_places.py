"""What a name stands for: this repository, a predictions file, a trial, a revision, in this order."""

from typing import Any

import pytest

from reprolens.comparison.places import Kind, find_places
from reprolens.errors import ConfigError, SweepError


def test_every_kind_of_name_is_found_and_said(experiments: Any) -> None:
    root = experiments.root
    names = [".", "reports/predictions.json", "good/0", "multirun/good/1", "one", "better-one", "one~1"]
    places = find_places(root, names)
    assert [place.kind for place in places] == [
        Kind.workspace,
        Kind.predictions,
        Kind.trial,
        Kind.trial,
        *[Kind.revision] * 3,
    ]
    commit = experiments.git("rev-parse", "--short=8", "one")
    assert [place.said for place in places][:5] == [
        "the repository as it lies",
        "the predictions reports/predictions.json",
        "trial good/0",
        "trial good/1",
        f"one, commit {commit}",
    ]


def test_trial_goes_by_its_experiments_name(experiments: Any) -> None:
    assert find_places(experiments.root, ["exp-0", "one"])[0].said == "trial good/0"


def test_file_goes_before_a_revision_of_the_same_name(experiments: Any) -> None:
    experiments.git("branch", "theirs.json")
    (experiments.root / "theirs.json").write_text("[]")
    try:
        assert find_places(experiments.root, ["theirs.json", "one"])[0].kind == Kind.predictions
    finally:
        (experiments.root / "theirs.json").unlink()
        experiments.git("branch", "-D", "theirs.json")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["one"], "compare needs at least two"),
        (["one", "tow"], "tow: no such file, trial .* or Git revision; did you mean two"),
        (["one", "good/9"], "good/9: .*did you mean good/"),
        (["one", "beter-one"], "beter-one: .*did you mean better-one"),
        (["one", ""], "an empty name"),
        (["one", "--all"], "--all: no such"),
        (["one", "docs"], "docs: not a folder of predictions"),
        (["one", "one"], r"one: given twice \(one, commit"),
        (["two", "better-one"], "two and better-one: given twice"),
        (["workspace", "."], r"workspace: given twice \(the repository as it lies\)"),
        (["good/0", "multirun/good/0"], r"good/0 and multirun/good/0: given twice \(trial good/0\)"),
    ],
)
def test_wrong_names_are_one_line(experiments: Any, names: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        find_places(experiments.root, names)
    assert "\n" not in str(error.value)


def test_trial_without_results_is_refused(experiments: Any) -> None:
    with pytest.raises(SweepError, match="good/2: the trial is failed"):
        find_places(experiments.root, ["one", "good/2"])


def test_experiments_of_one_name_are_told_apart_by_their_commits(experiments: Any) -> None:
    other = experiments.git("rev-parse", "empty")
    ref = f"refs/exps/{other[:2]}/{other[2:]}/better-one"
    experiments.git("update-ref", ref, "one")
    try:
        with pytest.raises(ConfigError, match=r"better-one: several experiments are called so; .*by its commit"):
            find_places(experiments.root, ["one", "better-one"])
    finally:
        experiments.git("update-ref", "-d", ref)
