"""A promoted trial is the repository's experiment: DVC finds nothing to do, params.yaml is still the user's."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from reprolens.config.compose import compose
from reprolens.errors import SweepError
from reprolens.sweeps.promote import promote
from reprolens.sweeps.record import Status, Trial, read_trial, write_trial
from reprolens.sweeps.stages import config_id

pytestmark = pytest.mark.slow

CHOSEN = ("optimizer=sgd", "optimizer.lr=3e-3", "augment.scale=[0.75,1.5]", "model.name=fcos_mobilenet_v2", "seed=5")
RESULTS = (
    "reports/evaluation.json",
    "reports/train.json",
    "weights/model.pt",
    "export/model.onnx",
    "data/voc/data.json",
)


def comments(text: str) -> list[str]:
    return re.findall(r"#.*", text)


@pytest.fixture(scope="module")
def trained(shared_project: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a repository with one finished trial, multirun/good/0."""
    root = tmp_path_factory.mktemp("promote") / "repository"
    subprocess.run(["git", "clone", "-q", str(shared_project.root), str(root)], check=True)
    project = type(shared_project)(root)
    for key, value in (("user.name", "test"), ("user.email", "test@localhost")):
        project.git("config", key, value)
    project.finish("sweep.name=good", *CHOSEN)
    waiting = Trial(1, "0" * 8, {})
    write_trial(root / "multirun" / "good", waiting)
    return project


@pytest.fixture
def project(trained: Any, tmp_path: Path) -> Any:
    """Return a copy of it that the test may change."""
    shutil.copytree(trained.root, tmp_path / "repository", symlinks=True)
    return type(trained)(tmp_path / "repository")


@pytest.fixture(scope="module")
def promoted(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """Return a copy of it in which the trial is promoted, and what was said."""
    root = tmp_path_factory.mktemp("promoted") / "repository"
    shutil.copytree(trained.root, root, symlinks=True)
    return type(trained)(root), promote(root, "good/0")


def state(root: Path) -> dict[str, bytes]:
    names = ("params.yaml", "config.yaml", "dvc.lock", "reports/run.json", *RESULTS)
    return {name: (root / name).read_bytes() for name in names if (root / name).exists()}


def test_results_of_the_trial_lie_in_their_places(promoted: tuple[Any, str]) -> None:
    project, said = promoted
    for name in RESULTS:
        trial = project.root / "multirun" / "good" / "0" / name
        assert (project.root / name).read_bytes() == trial.read_bytes()
    assert said == "params.yaml and its results are those of good/0"


def test_dvc_finds_nothing_to_do_after_it(promoted: tuple[Any, str]) -> None:
    done = promoted[0].run("dvc", "status")
    assert done.stdout == "Data and pipelines are up to date.\n", done.stdout + done.stderr


def test_menu_and_comments_of_params_yaml_stay(promoted: tuple[Any, str], trained: Any) -> None:
    before, after = ((project.root / "params.yaml").read_text() for project in (trained, promoted[0]))
    assert comments(after) == comments(before)
    assert "  - optimizer: sgd" in after
    assert "  - model: fcos_mobilenet_v2" in after
    value = yaml.safe_load(after)
    assert value["optimizer"] == {"lr": 3e-3}
    assert value["augment"] == {"scale": [0.75, 1.5]}
    assert "scale: [0.75, 1.5]" in after
    assert value["seed"] == 5
    changed = set(after.splitlines()) - set(before.splitlines())
    assert len(changed) < 12, changed


def test_params_yaml_composes_to_the_trial(promoted: tuple[Any, str]) -> None:
    root = promoted[0].root
    trial = read_trial(root / "multirun" / "good" / "0")
    assert trial is not None and config_id(compose(root)) == trial.id
    composed, own = (
        yaml.safe_load((root / name).read_text()) for name in ("config.yaml", "multirun/good/0/config.yaml")
    )
    assert {**composed, "sweep": None} == {**own, "sweep": None}


def test_trial_whose_settings_fit_no_menu_brings_its_composed_file(project: Any) -> None:
    root = project.root
    (root / "params.yaml").write_text((root / "multirun" / "good" / "0" / "params.yaml").read_text() + "# frozen\n")
    project.git("commit", "-qam", "a frozen experiment")
    (root / "params.yaml").write_text("seed: 3  # an edit that is in the way\n")
    with pytest.raises(SweepError, match="changes that are not committed"):
        promote(root, "good/0")
    said = promote(root, "good/0", force=True)
    assert (root / "params.yaml").read_text() == (root / "multirun" / "good" / "0" / "params.yaml").read_text()
    trial = read_trial(root / "multirun" / "good" / "0")
    assert trial is not None and trial.experiment is not None
    assert f"dvc exp apply {trial.experiment}" in said  # the commit is another one since


def test_edit_of_params_yaml_that_is_not_committed_is_not_lost(project: Any) -> None:
    root = project.root
    for staged in (False, True):
        with (root / "params.yaml").open("a") as file:
            file.write("# a thought\n")
        if staged:
            project.git("add", "params.yaml")
        before = state(root)
        with pytest.raises(SweepError) as caught:
            promote(root, "good/0")
        assert str(caught.value) == (
            "params.yaml: has changes that are not committed; commit them, or add --force to lose them"
        )
        assert state(root) == before


def test_promotion_that_dvc_cannot_finish_leaves_params_yaml_as_it_was(project: Any) -> None:
    before = state(project.root)
    shutil.rmtree(project.root / ".dvc" / "cache" / "files")
    with pytest.raises(SweepError, match=r"^dvc checkout: ") as caught:
        promote(project.root, "good/0")
    assert "\n" not in str(caught.value)
    after = state(project.root)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("god/0", "god/0: no trial in multirun/; did you mean good/0"),
        ("good/7", "did you mean good/"),
        ("quite-another", "good/0"),
        ("good", "good/0"),
    ],
)
def test_unknown_name_suggests_one_that_is_there(trained: Any, name: str, part: str) -> None:
    with pytest.raises(SweepError) as caught:
        promote(trained.root, name)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_repository_without_sweeps_has_no_trial_to_promote(shared_project: Any, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="good/0: no trial in multirun/"):
        promote(tmp_path, "good/0")


def test_trial_has_its_number_its_folder_and_its_experiment_as_names(trained: Any) -> None:
    root = trained.root
    with (root / "params.yaml").open("a") as file:
        file.write("# in the way\n")
    try:
        trial = read_trial(root / "multirun" / "good" / "0")
        assert trial is not None
        for name in ("good/0", "multirun/good/0", str(root / "multirun" / "good" / "0"), str(trial.experiment)):
            with pytest.raises(SweepError, match="not committed"):  # found, and refused for another reason
                promote(root, name)
    finally:
        trained.git("checkout", "-q", "params.yaml")


@pytest.mark.parametrize("status", [status for status in Status if status != Status.done])
def test_only_a_trial_that_is_done_can_be_promoted(trained: Any, status: Status) -> None:
    write_trial(trained.root / "multirun" / "good", Trial(1, "0" * 8, {}, status))
    before = state(trained.root)
    with pytest.raises(SweepError) as caught:
        promote(trained.root, "good/1")
    assert str(caught.value) == f"good/1: the trial is {status}, so it has no results to promote"
    assert state(trained.root) == before
