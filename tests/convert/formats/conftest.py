"""The real data sets, which are no part of the repository."""

from pathlib import Path

import pytest

from convert.sources import DATA


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of the real data sets; skip where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"the real data sets are not here ({DATA})")
    return DATA
