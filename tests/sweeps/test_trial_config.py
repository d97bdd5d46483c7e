"""A trial's configuration, as it holds in a workspace: paths, weights of a commit, names."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reprolens.config import Classify, Config, DvcWeights, Expected, FileWeights
from reprolens.config.compose import compose
from reprolens.errors import SweepError
from reprolens.sweeps.trial_config import trial_config, weights_commits
from sweeps.small_repository import commit, git, make_root

CONFIG = compose(Path(__file__).parents[2], ["data=digits", "pretrain=random"])
NOTHING_SAID = Expected(None, None, None, None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a small repository with a commit."""
    return make_root(tmp_path / "repository")


def with_data(path: str) -> Config:
    return replace(CONFIG, data=replace(CONFIG.data, path=path))


def with_pretrain(pretrain: Classify | DvcWeights) -> Config:
    return replace(CONFIG, pretrain=pretrain)


def classified(data: str | None) -> Classify:
    return Classify("classify", data, None, max_epochs=1, batch_size=4, crop_size=32, lr=1e-3)


def tracked(repo: str, rev: str | None = None) -> DvcWeights:
    return DvcWeights("dvc", "weights/model.pt", repo, rev, NOTHING_SAID)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("data/digits", "data/digits"),
        ("data/../data/digits/", "data/../data/digits/"),
        ("../pictures", "{above}/pictures"),
        ("data/../../pictures", "{above}/pictures"),
        ("/tmp/pictures", "/tmp/pictures"),
    ],
)
def test_sources_in_the_repository_keep_their_path_and_others_are_absolute(root: Path, path: str, there: str) -> None:
    config = replace(with_data(path), pretrain=FileWeights("file", path, NOTHING_SAID))
    own = trial_config(root, config, "sweep", {})
    assert isinstance(own.pretrain, FileWeights)
    assert own.data.path == own.pretrain.path == there.format(above=root.parent)
    assert trial_config(root, own, "sweep", {}) == own


@pytest.mark.parametrize(
    ("path", "there"), [("data/classes", "data/classes"), ("../classes", "{above}/classes"), (None, None)]
)
def test_pictures_to_learn_from_before_keep_their_path_in_the_repository_only(
    root: Path, path: str | None, there: str | None
) -> None:
    own = trial_config(root, with_pretrain(classified(path)), "sweep", {})
    assert own.pretrain == classified(there and there.format(above=root.parent))


# ---- weights of another revision: a workspace has no Git


@pytest.mark.parametrize("repo", [".", "../repository", "{root}"])
def test_weights_of_the_repository_itself_are_those_of_its_last_commit_by_its_absolute_path(
    root: Path, repo: str
) -> None:
    head = git(root, "rev-parse", "HEAD").strip()
    own = trial_config(root, with_pretrain(tracked(repo.format(root=root))), "sweep", {})
    assert own.pretrain == tracked(str(root), head)
    assert trial_config(root, own, "sweep", {}) == own


def test_weights_of_a_repository_beside_are_those_of_its_own_last_commit(root: Path, tmp_path: Path) -> None:
    other = make_root(tmp_path / "other")
    (other / "more").write_text("more\n")
    commit(other)
    own = trial_config(root, with_pretrain(tracked("../other")), "sweep", {})
    assert own.pretrain == tracked(str(other), git(other, "rev-parse", "HEAD").strip())


def test_all_trials_of_a_sweep_take_the_weights_of_its_start_whatever_is_committed_since(root: Path) -> None:
    config = with_pretrain(tracked("."))
    commits, first = weights_commits(root, [CONFIG, config]), trial_config(root, config, "sweep", {})
    (root / "src" / "edited.py").write_text("edited\n")
    commit(root)
    assert trial_config(root, config, "sweep", {}, commits) == first
    assert trial_config(root, config, "sweep", {}) != first


@pytest.mark.parametrize("rev", ["main", "v1.0"])
def test_a_revision_that_is_named_stays(root: Path, rev: str) -> None:
    assert trial_config(root, with_pretrain(tracked(".", rev)), "sweep", {}).pretrain == tracked(str(root), rev)
    assert weights_commits(root, [with_pretrain(tracked(".", rev))]) == {}


@pytest.mark.parametrize("repo", ["https://example.org/models.git", "git@example.org:models.git"])
def test_weights_at_an_address_stay_there(root: Path, repo: str) -> None:
    config = with_pretrain(tracked(repo))
    assert trial_config(root, config, "sweep", {}).pretrain == tracked(repo)
    assert weights_commits(root, [config]) == {}


def test_weights_of_a_folder_without_git_are_refused_in_one_line(root: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(SweepError, match=r"^pretrain\.repo: \.\./plain: not a Git repository with a commit; [^\n]+$"):
        trial_config(root, with_pretrain(tracked("../plain")), "sweep", {})


def test_name_of_a_run_tells_what_its_trial_varies_unless_the_user_gives_one(root: Path) -> None:
    varied = {"optimizer.lr": 1e-3, "augment": "light"}
    assert trial_config(root, CONFIG, "s", varied).tracking.name == f"{CONFIG.model.name}-digits-lr0.001-light"
    named = replace(CONFIG, tracking=replace(CONFIG.tracking, name="mine"))
    assert trial_config(root, named, "s", varied).tracking.name == "mine"


def test_runs_are_grouped_by_the_sweep_unless_the_user_says_otherwise(root: Path) -> None:
    assert trial_config(root, CONFIG, "a sweep", {}).tracking.group == "a sweep"
    grouped = replace(CONFIG, tracking=replace(CONFIG.tracking, group="mine"))
    assert trial_config(root, grouped, "a sweep", {}).tracking.group == "mine"


@pytest.mark.parametrize("change", [{"name": "other"}, {"max_failure_rate": 0.1}, {"retry_failed": True}])
def test_how_a_sweep_is_run_makes_no_other_trial(root: Path, change: dict[str, Any]) -> None:
    other = replace(CONFIG, sweep=replace(CONFIG.sweep, **change))
    assert trial_config(root, other, "s", {}) == trial_config(root, CONFIG, "s", {})
