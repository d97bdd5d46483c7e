"""The command `reprolens compare`: what it refuses before it computes, and what it writes."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from reprolens.commands import evaluation
from reprolens.errors import ConfigError


def compare(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    evaluation.add(parser.add_subparsers())
    options = parser.parse_args(["compare", *arguments])
    options.command(options)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("page.txt", "--out page.txt: the page is HTML"),
        ("folder.html", "--out folder.html: is a folder"),
        ("absent/page.html", "--out absent/page.html: there is no folder absent"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_anything_else(
    out: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ConfigError, match=said):
        compare("nothing", "of-this", "--out", out)


def test_the_page_is_written_and_the_numbers_are_printed(
    experiments: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(experiments.root)
    page = tmp_path / "page.html"
    compare("one", "two", "--json", "--resamples", "100", "--score-threshold", "0.7", "--out", str(page))
    found = json.loads(capsys.readouterr().out)
    assert [own["score_threshold"] for own in found["subjects"]] == [0.7, 0.7]
    assert found["against"][0]["verdict"] in page.read_text()
