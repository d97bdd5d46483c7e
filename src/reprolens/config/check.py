"""How a schema refuses a value."""

from reprolens.errors import ConfigError


def check(condition: bool, key: str, rule: str) -> None:
    """Raise ConfigError naming `key` and the `rule` it breaks unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{key}: {rule}")
