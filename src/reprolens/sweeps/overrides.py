"""Hydra's overrides, read one by one, so that an error names the one that is wrong."""

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from reprolens.errors import ConfigError


def read_overrides(lines: Sequence[str], loader: ConfigLoader | None = None) -> list[Override]:
    """Return the overrides of a command line; `loader` finds the files of a glob(...). Raises ConfigError."""
    parser = OverridesParser.create(config_loader=loader)
    parsed = []
    for line in lines:
        try:
            parsed += parser.parse_overrides([line])
        except HydraException as error:  # its base, because one without '=' is no error of parsing to Hydra
            reasons = [text for text in str(error).splitlines() if not text.startswith("Error parsing override")]
            reason = reasons[0] if reasons else "syntax"
            raise ConfigError(f"override {line!r}: cannot be read ({reason}); write key=value") from None
    return parsed


def key_of(override: Override) -> str:
    """Return an override's key without the prefix that says whether it is added, changed or removed."""
    return str(override.get_key_element()).lstrip("+~")


def menu(root: Path) -> ConfigLoader:
    """Return what finds the choices of a glob(...) in `root`/conf."""
    return ConfigLoaderImpl(create_config_search_path(str((root / "conf").resolve())))
