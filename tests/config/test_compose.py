"""Laws of composing: what it accepts, what it refuses, and in which words."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reprolens.config.compose import compose, to_yaml
from reprolens.errors import ConfigError

ROOT = Path(__file__).parents[2]


def _append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _error(project: Path, *overrides: str) -> str:
    """Return the error of composing, which has to be one line."""
    with pytest.raises(ConfigError) as caught:
        compose(project, overrides)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


# What is appended to params.yaml, ending in the line at fault; and what the error has to say.
IN_PARAMS = {
    "unknown key": ("optimiser: {lr: 1}", ["optimiser", "unknown key", "did you mean optimizer?"]),
    "unknown nested key": ("trainer:\n  max_epoch: 3", ["trainer.max_epoch", "did you mean max_epochs or"]),
    "key of another choice": ("optimizer:\n  momentum: 0.9", ["optimizer.momentum", "unknown key", "lr"]),
    "dotted key": ("optimizer.lr: 1", ["optimizer.lr", "section", "optimizer: {lr: ...}"]),
    "number as key": ("1: 2", ["1: unknown key"]),
    "text for a whole number": ("trainer:\n  max_epochs: many", ["trainer.max_epochs", "'many'", "a whole number"]),
    "fraction for a whole number": ("trainer:\n  max_epochs: 1.5", ["trainer.max_epochs", "1.5", "a whole number"]),
    "truth for a number": ("optimizer:\n  lr: true", ["optimizer.lr", "True", "a number"]),
    "nothing for a number": ("optimizer:\n  lr:", ["optimizer.lr", "None", "a number"]),
    "not a number": ("optimizer:\n  weight_decay: .nan", ["optimizer.weight_decay", "nan", "finite"]),
    "infinity": ("optimizer:\n  lr: .inf", ["optimizer.lr", "inf", "finite"]),
    "infinity in a list": ("augment:\n  scale: [1, .inf]", ["augment.scale", "finite"]),
    "number for a list": ("tracking:\n  tags: 1", ["tracking.tags", "1", "a list of texts"]),
    "section for a text": ("tracking:\n  name: {a: b}", ["tracking.name", "a text or null"]),
    "text for a section": ("optimizer: adamw", ["optimizer", "section", "'adamw'"]),
    "list for a section": ("optimizer: [adamw]", ["optimizer", "section", "['adamw']"]),
    "nothing for a section": ("optimizer:", ["optimizer", "section", "None"]),
    "truth for a text": ("tracking:\n  name: off", ["tracking.name", "False", "quotes"]),
    "octal": ("trainer:\n  max_epochs: 017", ["trainer.max_epochs", "017 means 15"]),
    "octal for a text": ("tracking:\n  name: 017", ["tracking.name", "017 means 15", "quotes"]),
    "base 60": ("trainer:\n  max_epochs: 1:30", ["trainer.max_epochs", "1:30 means 90"]),
    "number for a text": ("tracking:\n  tags: [v1, 2]", ["tracking.tags", "2", "quotes"]),
    "no such value": ("tracking:\n  mode: ofline", ["tracking.mode", "'ofline'", "offline, online, disabled"]),
    "no such kind": ("optimizer:\n  name: adam", ["optimizer.name", "'adam'", "did you mean adamw?"]),
    "out of bounds": ("optimizer:\n  lr: -1", ["optimizer.lr", "must be above 0"]),
    "wrong length": ("model:\n  image_size: [320]", ["model.image_size", "[height, width]"]),
    "unknown interpolation": ("trainer:\n  max_epochs: ${nowhere}", ["trainer.max_epochs", "'nowhere' not found"]),
    "broken interpolation": ("trainer:\n  max_epochs: ${nowhere", ["trainer.max_epochs", "${nowhere"]),
    "environment variable": ("tracking:\n  name: ${oc.env:NOT_SET_7}", ["tracking.name", "NOT_SET_7"]),
    "circle": ("tracking:\n  name: ${tracking.name}", ["tracking.name", "Recursive"]),
    "key given twice": ("evaluate: {samples: 1}\nevaluate: {samples: 2}", ["not valid YAML", "duplicate key evaluate"]),
    "tab": ("trainer:\n\tmax_epochs: 3", ["not valid YAML", "'\\t'"]),
    "code": ("seed: !!python/object/apply:os.getcwd []", ["not valid YAML", "python/object/apply:os.getcwd"]),
}


@pytest.mark.parametrize("case", IN_PARAMS)
def test_an_error_in_params_names_the_line_the_key_and_what_is_valid(case: str, project: Path) -> None:
    text, words = IN_PARAMS[case]
    params = project / "params.yaml"
    _append(params, f"{text}\n")
    message = _error(project)
    assert message.startswith(f"params.yaml:{len(params.read_text().splitlines())}: "), message
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_out_of_bounds_is_named(project: Path, seed: str) -> None:
    _replace(project / "params.yaml", "seed: 1", f"seed: {seed}")
    assert re.match(r"params.yaml:\d+: seed: must be from 0 to 4294967295", _error(project))


@pytest.mark.parametrize("metric", ["voc12/map50", "coco/ap", "coco/ap/cat", "f1", "tide/cls", "best_f1/threshold"])
def test_what_test_measures_must_not_choose_a_model(metric: str, project: Path) -> None:
    message = _error(project, f"sweep.metric={metric}")
    assert f"sweep.metric: {metric} is measured on test, which must not choose a model; take val/map, or" in message
    assert message.endswith("or set evaluate.split=val")
    both = [f"sweep.metric=[val/map,{metric}]", "sweep.direction=[maximize,maximize]"]
    assert f"sweep.metric: {metric} is measured on train" in _error(project, *both, "evaluate.split=train")
    assert compose(project, [f"sweep.metric={metric}", "evaluate.split=val"]).sweep.metric == [metric]


@pytest.mark.parametrize("metric", ["onnx/voc12/map50", "onnx_int8/drop/coco/ap", "torch/coco/ap"])
def test_what_the_gate_measures_must_not_choose_a_model_whatever_is_evaluated(metric: str, project: Path) -> None:
    for split in ("test", "val", "train"):
        message = _error(project, f"sweep.metric={metric}", f"evaluate.split={split}")
        assert message.endswith(f"{metric} is measured on test, which must not choose a model; take val/map")


@pytest.mark.parametrize("metric", ["val/map", "val/map50", "train/loss", "onnx/size_mb", "onnx/latency_ms/p50"])
def test_what_training_and_export_measure_may_choose_a_model(metric: str, project: Path) -> None:
    for split in ("train", "val", "test"):
        assert compose(project, [f"sweep.metric={metric}", f"evaluate.split={split}"]).sweep.metric == [metric]


def test_a_sweep_ranks_by_the_val_split_unless_told_otherwise(project: Path) -> None:
    assert compose(project).sweep.metric == ["val/map"]


# The text of conf/optimizer/adamw.yaml, with HERE behind the line at fault; and what the error has to say.
IN_CONF = {
    "unknown key": (
        "name: adamw\nlr: 1\nweigt_decay: 0  # HERE",
        ["optimizer.weigt_decay", "did you mean weight_decay?"],
    ),
    "out of bounds": ("name: adamw\nlr: -1  # HERE\nweight_decay: 0\nbetas: [0.9, 0.9]", ["optimizer.lr", "above 0"]),
    "wrong type": ("name: adamw\nlr: fast  # HERE\nweight_decay: 0\nbetas: [0.9, 0.9]", ["optimizer.lr", "'fast'"]),
    "octal": ("name: adamw\nlr: 010  # HERE\nweight_decay: 0\nbetas: [0.9, 0.9]", ["optimizer.lr", "010 means 8"]),
    "key given twice": ("name: adamw\nlr: 1\nlr: 2  # HERE", ["duplicate key lr"]),
    "broken YAML": ("name: [adamw\nlr: 1  # HERE", ["not valid YAML"]),
}


@pytest.mark.parametrize("case", IN_CONF)
def test_an_error_in_a_chosen_file_names_that_file_and_line(case: str, project: Path) -> None:
    text, words = IN_CONF[case]
    (project / "conf/optimizer/adamw.yaml").write_text(f"{text}\n")
    line = next(number for number, content in enumerate(text.splitlines(), 1) if "HERE" in content)
    message = _error(project)
    assert message.startswith(f"conf/optimizer/adamw.yaml:{line}: "), message
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize("content", [b"", b"hello", b"- 1\n- 2\n", b"name: adamw\nlr: \xff\n"])
def test_a_chosen_file_that_is_no_section_is_named(content: bytes, project: Path) -> None:
    (project / "conf/optimizer/adamw.yaml").write_bytes(content)
    assert _error(project).startswith("conf/optimizer/adamw.yaml: ")


def test_an_error_in_a_file_that_a_choice_starts_from_names_that_file(project: Path) -> None:
    _replace(project / "conf/augment/none.yaml", "crop: 0.0", "crop: 7.0")
    assert re.match(r"conf/augment/none.yaml:\d+: augment.crop: is a probability", _error(project))


def test_an_error_in_an_experiment_names_its_line_and_params_wins_over_it(project: Path) -> None:
    experiment = project / "conf/experiment/mine.yaml"
    experiment.write_text("# @package _global_\n\ntrainer:\n  max_epochs: 0\n")
    _replace(project / "params.yaml", "experiment: null", "experiment: mine")
    assert _error(project).startswith("conf/experiment/mine.yaml:4: trainer.max_epochs: ")
    _append(project / "params.yaml", "trainer:\n  max_epochs: -2\n")
    assert re.match(r"params.yaml:\d+: trainer.max_epochs: ", _error(project))


def test_a_merge_key_is_followed_to_the_line_that_it_takes_over(project: Path) -> None:
    _append(project / "params.yaml", "trainer:\n  <<: {max_epochs: 0}\n")
    lines = len((project / "params.yaml").read_text().splitlines())
    assert _error(project).startswith(f"params.yaml:{lines}: trainer.max_epochs: ")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("optimizer: adamw", "optimizer: adam", ["optimizer: there is no choice 'adam'", "did you mean adamw?"]),
        ("model: fcos_mobilenet_v2", "model: fcos_mobilenet_v3", ["'fcos_mobilenet_v3'", "fcos_mobilenet_v2"]),
        ("schedule: cosine", "schedule: sine", ["schedule: there is no choice 'sine'", "cosine"]),
        ("optimizer: adamw", "optimiser: adamw", ["no group 'optimiser'", "did you mean optimizer?"]),
        ("experiment: null", "experiment: bcd", ["experiment: there is no choice 'bcd'", "did you mean bccd?"]),
        ("optimizer: adamw", "optimizer: adamw,sgd", ["'adamw,sgd'", "adamw"]),
    ],
)
def test_a_choice_or_group_that_does_not_exist_is_named_with_its_line_and_the_nearest(
    old: str, new: str, words: list[str], project: Path
) -> None:
    params = project / "params.yaml"
    _replace(params, old, new)
    line = next(number for number, text in enumerate(params.read_text().splitlines(), 1) if f"- {new} " in f"{text} ")
    message = _error(project)
    assert message.startswith(f"params.yaml:{line}: "), message
    assert [word for word in words if word not in message] == [], message


def test_a_choice_that_an_experiment_or_a_choice_asks_for_is_named_there(project: Path) -> None:
    (project / "conf/experiment/mine.yaml").write_text("# @package _global_\ndefaults:\n  - override /data: vox\n")
    assert _error(project, "experiment=mine").startswith("conf/experiment/mine.yaml:3: data: there is no choice 'vox'")
    (project / "conf/augment/light.yaml").write_text("defaults: [nothing, _self_]\n")
    assert _error(project).startswith("conf/augment/light.yaml:1: augment: there is no choice 'nothing'")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer=adam", ["command line: optimizer: there is no choice 'adam'", "adamw"]),
        ("optimizer.l=1", ["command line: optimizer.l: unknown key", "did you mean lr?"]),
        ("optimizer.lr=abc", ["command line: optimizer.lr: 'abc' is not a number"]),
        ("optimizer.lr=[1", ["override 'optimizer.lr=[1'", "key=value"]),
        ("optimizer", ["override 'optimizer'", "key=value"]),
    ],
)
def test_an_error_in_an_override_says_so(override: str, words: list[str]) -> None:
    message = _error(ROOT, override)
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(("choice", "key"), [("data=voc", "data.path"), ("pretrain=file", "pretrain.path")])
def test_a_mandatory_value_that_is_missing_is_named_where_it_is_asked_for(choice: str, key: str, project: Path) -> None:
    _replace(project / "params.yaml", "data:\n  path:", "#")
    message = _error(project, choice)
    assert re.match(rf"conf/{choice.replace('=', '/')}.yaml:\d+: {key}: has no value", message), message
    assert "params.yaml" in message


def test_a_group_that_the_defaults_list_leaves_out_is_named(project: Path) -> None:
    _replace(project / "params.yaml", "  - sweep: default\n", "")
    assert _error(project) == "params.yaml: sweep: is missing; give it in params.yaml"


@pytest.mark.parametrize(
    "content", [b"", b"- 1\n", b"seed: \xff\n", b"seed: [1\n", b"defaults: x\n", b"defaults: [1]\n"]
)
def test_a_params_file_that_is_none_is_refused_in_one_line(content: bytes, project: Path) -> None:
    (project / "params.yaml").write_bytes(content)
    assert _error(project).startswith("params.yaml")


def test_a_missing_params_file_is_named(tmp_path: Path) -> None:
    assert "params.yaml: not found" in _error(tmp_path)


@pytest.mark.parametrize(
    ("section", "key", "written", "value"),
    [
        ("optimizer", "lr", "1e-3", 0.001),
        ("optimizer", "lr", "1E-3", 0.001),
        ("optimizer", "lr", "1", 1.0),
        ("optimizer", "lr", "'3e-4'", 0.0003),
        ("trainer", "max_epochs", "1_000", 1000),
        ("trainer", "max_epochs", "'7'", 7),
        ("trainer", "patience", "~", None),
        ("trainer", "patience", "", None),
        ("tracking", "artifacts", "on", True),
        ("tracking", "artifacts", "No", False),
        ("tracking", "name", "'017'", "017"),
        ("tracking", "name", "'off'", "off"),
        ("tracking", "name", "2020-01-01", "2020-01-01"),
        ("tracking", "notes", "größer als 1e-3 \U0001f600", "größer als 1e-3 \U0001f600"),
        ("evaluate", "samples", "${trainer.batch_size}", 16),
    ],
)
def test_what_people_write_in_yaml_arrives_as_what_they_mean(
    section: str, key: str, written: str, value: object, project: Path
) -> None:
    _append(project / "params.yaml", f"{section}:\n  {key}: {written}\n")
    arrived = getattr(getattr(compose(project), section), key)
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
def test_a_byte_order_mark_or_windows_line_ends_change_nothing(change: object, project: Path) -> None:
    expected = to_yaml(compose(project))
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(change(text), newline="")  # type: ignore[operator]
    assert to_yaml(compose(project)) == expected


def test_composing_twice_gives_the_same_bytes() -> None:
    assert to_yaml(compose(ROOT)) == to_yaml(compose(ROOT))


def test_an_edit_of_a_file_that_nobody_chose_changes_no_byte(project: Path) -> None:
    expected = to_yaml(compose(project))
    for path in ("optimizer/sgd.yaml", "experiment/bccd.yaml", "model/ssd300_vgg16.yaml"):
        _replace(project / "conf" / path, ":", ": [broken")
    assert to_yaml(compose(project)) == expected


def test_an_edit_of_a_chosen_file_changes_its_own_lines_only(project: Path) -> None:
    before = to_yaml(compose(project)).splitlines()
    _replace(project / "conf/optimizer/adamw.yaml", "weight_decay: 0.05", "weight_decay: 0.06")
    after = to_yaml(compose(project)).splitlines()
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert changed == [("  weight_decay: 0.05", "  weight_decay: 0.06")]


FRESH = """
import json, resource, sys
from pathlib import Path
from reprolens.config.compose import compose, to_yaml
text = to_yaml(compose(Path(sys.argv[1])))
usage = resource.getrusage(resource.RUSAGE_SELF)
heavy = [name for name in ("torch", "wandb", "dvc", "matplotlib", "numpy", "onnx", "timm") if name in sys.modules]
print(json.dumps({"text": text, "heavy": heavy, "seconds": usage.ru_utime + usage.ru_stime}))
"""


def test_a_fresh_process_composes_the_same_bytes_in_under_a_second_without_heavy_imports() -> None:
    runs = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", FRESH, str(ROOT)],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        runs.append(json.loads(done.stdout))
    assert all(run["heavy"] == [] for run in runs)
    assert {run["text"] for run in runs} == {to_yaml(compose(ROOT))}
    # Of processor time, the better of two runs: other processes on the machine must not decide a test.
    assert min(run["seconds"] for run in runs) < 1
