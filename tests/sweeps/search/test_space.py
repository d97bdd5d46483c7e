"""Hydra's override syntax, as distributions and back."""

from pathlib import Path

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from reprolens.config.compose import compose
from reprolens.errors import ConfigError
from reprolens.sweeps.overrides import menu
from reprolens.sweeps.search.space import parse


@pytest.mark.parametrize(
    ("override", "distribution"),
    [
        ("a=1,2,3", CategoricalDistribution(["1", "2", "3"])),
        ("a=1,1,2", CategoricalDistribution(["1", "2"])),
        ("a=x,null,true", CategoricalDistribution(["x", "null", "True"])),
        ("a=sort(3,1,2)", CategoricalDistribution(["1", "2", "3"])),
        ("a=shuffle(3,1,2)", CategoricalDistribution(["3", "1", "2"])),
        ("a=range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("a=range(10,0,-5)", IntDistribution(5, 10, step=5)),
        ("a=range(4)", IntDistribution(0, 3)),
        ("a=range(0.1,0.4,0.1)", FloatDistribution(0.1, 0.3, step=0.1)),
        ("a=interval(0,1)", FloatDistribution(0.0, 1.0)),
        ("a=tag(log,interval(1e-4,1e-2))", FloatDistribution(1e-4, 1e-2, log=True)),
        ("a=tag(int,interval(1,8))", IntDistribution(1, 8)),
        ("a=int(interval(1,8))", IntDistribution(1, 8)),
        ("a=tag(int,log,interval(1,8))", IntDistribution(1, 8, log=True)),
        ("a=tag(log,range(1,9))", IntDistribution(1, 8, log=True)),
    ],
)
def test_override_becomes_the_distribution_it_means(override: str, distribution: BaseDistribution) -> None:
    assert parse([override], {}).dimensions == {"a": distribution}


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("a=interval(2,1)", "not below"),
        ("a=interval(1,1)", "not below"),
        ("a=interval(0,inf)", "finite"),
        ("a=tag(log,interval(0,1))", "logarithm"),
        ("a=tag(int,interval(0.5,2))", "whole"),
        ("a=range(1,9,0)", "never ends"),
        ("a=range(9,1)", "no step of 1"),
        ("a=tag(log,range(1,9,2))", "steps"),
        ("a=tag(lgo,interval(1,2))", "did you mean log?"),
        ("a=tag(log,choice(1,2))", "a choice"),
        ("a=choice(1,2", "cannot be read"),
        ("a=interval(1)", "missing a required argument"),
        ("a=1", "nothing to search"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(override: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice) as error:
        parse([override], {})
    assert "\n" not in str(error.value)


def test_prefixes_lists_and_special_characters_survive() -> None:
    texts = ["+a=[1,2],[3,4]", "++b={x:1},{x:2}", "c='x,y','it\\'s = ${z}'", "d=a\\,b,c", "e=1e-05,2.5"]
    space = parse([*texts, "f=1", "~g"], {})
    assert space.fixed == ("f=1", "~g")
    point = {key: dimension.choices[-1] for key, dimension in space.dimensions.items()}  # type: ignore[attr-defined]
    assert space.overrides(point) == ("f=1", "~g", "+a=[3,4]", "++b={x:2}", "c='it\\'s = ${z}'", "d=c", "e=2.5")
    first = {key: dimension.choices[0] for key, dimension in space.dimensions.items()}  # type: ignore[attr-defined]
    assert space.parameters(first) == {"a": [1, 2], "b": {"x": 1}, "c": "x,y", "d": "a,b", "e": 1e-05}
    assert parse([f"{name}={space._text(name, value)},0" for name, value in first.items()], {}).parameters(first) == (
        space.parameters(first)
    )


def test_command_line_goes_before_the_configuration() -> None:
    space = parse(["a=5", "+b=7,8"], {"a": "1,2", "b": "3,4", "c": "interval(0,1)", "d": None})
    assert space.fixed == ("d=null", "a=5")
    assert set(space.dimensions) == {"b", "c"}
    assert space.written["b"] == "+b"


def test_steps_of_a_range_are_written_as_people_write_them() -> None:
    space = parse(["a=range(0.1,1,0.1)"], {})
    assert space.overrides({"a": 0.1 + 2 * 0.1}) == ("a=0.3",)


def test_glob_chooses_files_of_a_group(project: Path) -> None:
    space = parse(["optimizer=glob(*)"], {}, menu(project))
    assert space.dimensions == {"optimizer": CategoricalDistribution(["adamw", "sgd"])}
    with pytest.raises(ConfigError, match="among nothing"):
        parse(["optimizer=glob(q*)"], {}, menu(project))


def test_points_compose(project: Path) -> None:
    space = parse(
        ["optimizer=adamw,sgd", "optimizer.lr=tag(log,interval(1e-6,1))", "model.image_size=[96,96],[64,64]"], {}
    )
    config = compose(
        project, space.overrides({"optimizer": "sgd", "optimizer.lr": 1.5e-06, "model.image_size": "[64,64]"})
    )
    assert (config.optimizer.name, config.optimizer.lr, config.model.image_size) == ("sgd", 1.5e-06, [64, 64])
