"""What tests of source formats share: where real data lie, a policy, and what a reader handed over."""

from dataclasses import fields
from pathlib import Path

import pytest

from reprolens.config.data import Action, Policy
from reprolens.convert.source import Problem, Source, SourceImage

DATA = Path(__file__).parents[2].parent / "shared" / "data"
"""Real data sets, which are no part of the repository."""

ASSETS = DATA / "format_fixtures" / "assets"

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data sets are not here ({DATA})")

POLICY = Policy(**dict.fromkeys((field.name for field in fields(Policy)), Action.fail))


def parted(source: Source) -> tuple[list[SourceImage], list[Problem]]:
    """Read a source to its end; return its pictures and its problems."""
    items = list(source.images)
    return [i for i in items if isinstance(i, SourceImage)], [i for i in items if isinstance(i, Problem)]
