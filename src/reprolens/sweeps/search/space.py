"""Hydra's override syntax as a search space: what varies becomes a distribution of Optuna, the rest stays as it is.

Syntax: https://hydra.cc/docs/advanced/override_grammar/extended/. Other than Hydra says of it, an interval includes its
upper end, because Optuna's distributions do.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep
from hydra.errors import HydraException

from reprolens.errors import ConfigError, suggest
from reprolens.sweeps.overrides import key_of, read_overrides

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

TAGS = ("float", "int", "log")
"""What tag(...) may say of an interval or a range."""


@dataclass(frozen=True)
class Space:
    """What a search varies.

    `fixed` are the overrides that do not vary, as they were written. `dimensions` are Optuna's distributions by the key
    without its prefix; a choice holds the texts of its elements, quotes included, so that lists, mappings and texts
    with special characters survive. `written` is, of each dimension, what stands before the `=`: `+`, `++` and the
    package included.
    """

    fixed: tuple[str, ...]
    dimensions: dict[str, "BaseDistribution"]
    written: dict[str, str]

    def overrides(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the overrides of one point of the space, the fixed ones first."""
        return (*self.fixed, *(f"{self.written[key]}={self._text(key, values[key])}" for key in self.dimensions))

    def parameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return one point of the space as values: a choice's text becomes the number, text or list that it means."""
        parser = OverridesParser.create()
        texts = {key: self._text(key, values[key]) for key in self.dimensions}
        return {key: parser.parse_override(f"key={text}").value() for key, text in texts.items()}

    def _text(self, key: str, value: Any) -> str:
        if getattr(self.dimensions[key], "step", None) is not None and isinstance(value, float):
            value = float(f"{value:.12g}")  # low + k * step in binary ends in digits that nobody wrote
        return str(value)


def parse(arguments: Sequence[str], params: Mapping[str, Any], loader: ConfigLoader | None = None) -> Space:
    """Return the space that overrides span; `arguments` take the place of entries of `params` for the same key.

    `params` is the sweeper's own section of the configuration. `loader`, of `menu`, is needed for a glob(...). Raises
    ConfigError for what cannot be read or searched, and where nothing varies.
    """
    given = read_overrides([f"{key}={_written(value)}" for key, value in params.items()], loader)
    merged: dict[tuple[bool, str], Override] = {}
    for override in (*given, *read_overrides(arguments, loader)):
        place = (override.is_delete(), key_of(override))
        merged.pop(place, None)  # the last one wins, in its own place
        merged[place] = override
    space = Space(
        tuple(override.input_line or "" for override in merged.values() if not override.is_sweep_override()),
        {key_of(override): _distribution(override) for override in merged.values() if override.is_sweep_override()},
        {key_of(override): override.get_key_element() for override in merged.values() if override.is_sweep_override()},
    )
    if not space.dimensions:
        raise ConfigError("nothing to search: give at least one override of many values, as lr=tag(log,interval(a,b))")
    return space


def _written(value: Any) -> str:
    return "null" if value is None else str(value)


def _distribution(override: Override) -> "BaseDistribution":
    sweep = override.value()
    tags = sweep.tags if isinstance(sweep, Sweep) else set()
    for tag in sorted(tags):
        _check(tag in TAGS, override, f"tag {tag!r} does not exist; {suggest(tag, TAGS)}")
    if isinstance(sweep, IntervalSweep):
        return _interval(override, sweep)
    if isinstance(sweep, RangeSweep):
        return _range(override, sweep)
    _check(not tags, override, f"tag {' and '.join(sorted(tags))} means nothing for a choice; leave it out")
    return _choice(override, sweep)


def _choice(override: Override, sweep: Any) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution

    if isinstance(sweep, ChoiceSweep) and sweep.shuffle:
        # Each start would shuffle anew, and Optuna takes another order for another space.
        override = dataclasses.replace(override, _value=dataclasses.replace(sweep, shuffle=False))
    try:
        texts = list(dict.fromkeys(override.sweep_string_iterator()))
    except HydraException as error:
        raise ConfigError(f"override {override.input_line!r}: {error}") from None
    _check(bool(texts), override, "chooses among nothing")
    return CategoricalDistribution(texts)


def _interval(override: Override, sweep: IntervalSweep) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    low, high, log = sweep.start, sweep.end, "log" in sweep.tags
    assert low is not None
    assert high is not None
    _check(math.isfinite(low) and math.isfinite(high), override, "has no finite ends")
    _check(low < high, override, f"is empty, because {low:g} is not below {high:g}; write interval(low,high)")
    _check(not log or low > 0, override, f"has no logarithm at {low:g}; begin above 0")
    # Hydra makes int(interval(..)) whole numbers, and tag(int, ..) is the published Optuna plugin's way to say it.
    if "int" in sweep.tags or (isinstance(low, int) and isinstance(high, int)):
        _check(low == int(low) and high == int(high), override, "has ends that are no whole numbers")
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _range(override: Override, sweep: RangeSweep) -> "BaseDistribution":
    """Return the distribution of start, start + step, ... below stop; counted in decimal, as Hydra does."""
    from optuna.distributions import FloatDistribution, IntDistribution

    start, stop, step = (Decimal(str(number)) for number in (sweep.start, sweep.stop, sweep.step))
    _check(step != 0 and start.is_finite() and stop.is_finite() and step.is_finite(), override, "never ends")
    count = math.ceil((stop - start) / step)
    _check(count > 0, override, f"is empty, because no step of {step} leads from {start} to {stop}")
    low, high = sorted((start, start + (count - 1) * step))
    log, step = "log" in sweep.tags, abs(step)
    _check(not log or step == 1, override, "has steps, which a logarithm has not; use an interval")
    _check(not log or low > 0, override, f"has no logarithm at {low}; begin above 0")
    whole = all(number == int(number) for number in (low, step))
    _check("int" not in sweep.tags or whole, override, "has steps that are no whole numbers")
    if "int" in sweep.tags or all(isinstance(number, int) for number in (sweep.start, sweep.stop, sweep.step)):
        return IntDistribution(int(low), int(high), log=log, step=int(step))
    _check(not log, override, "has steps, which a logarithm has not; use an interval")
    return FloatDistribution(float(low), float(high), step=float(step))


def _check(condition: bool, override: Override, rule: str) -> None:
    if not condition:
        raise ConfigError(f"override {override.input_line!r}: {rule}")
