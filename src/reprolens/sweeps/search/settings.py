"""What a search is: search.json in the sweep's folder, written by the driver and read by every worker."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from reprolens.errors import SweepError
from reprolens.files import write_json
from reprolens.sweeps.search.samplers import Pruning
from reprolens.sweeps.search.space import Space


@dataclass(frozen=True)
class Settings:
    """A search. `metrics` and `directions` are sweep.metric and sweep.direction.

    `storage` is a URL that Optuna knows, None for a journal file in the sweep's folder. `max_epochs` is the longest
    training of any trial. `max_failures` is the number of failed trials with which the search still goes on. `code` is
    the key of all that decides its trials beside what it varies.
    """

    space: Space
    metrics: tuple[str, ...]
    directions: tuple[str, ...]
    sampler: str
    n_trials: int
    seed: int
    pruner: str
    pruning: Pruning
    study_name: str
    storage: str | None
    max_epochs: int
    max_failures: float
    code: str = ""


def write_settings(sweep: Path, settings: Settings) -> None:
    """Write search.json."""
    from optuna.distributions import distribution_to_json

    space = settings.space
    dimensions = {
        key: {"override": space.written[key], "distribution": json.loads(distribution_to_json(distribution))}
        for key, distribution in space.dimensions.items()
    }
    value = asdict(settings) | {"space": {"fixed": space.fixed, "dimensions": dimensions}}
    write_json(sweep / "search.json", value)


def read_settings(sweep: Path) -> Settings:
    """Read search.json. Raises SweepError if it is missing or damaged."""
    from optuna.distributions import json_to_distribution

    path = sweep / "search.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        dimensions = values["space"]["dimensions"]
        space = Space(
            tuple(values["space"]["fixed"]),
            {key: json_to_distribution(json.dumps(value["distribution"])) for key, value in dimensions.items()},
            {key: value["override"] for key, value in dimensions.items()},
        )
        changed = {"space": space, "pruning": Pruning(**values["pruning"])}
        lists = {name: tuple(values[name]) for name in ("metrics", "directions")}
        return Settings(**(values | changed | lists))
    except FileNotFoundError:
        raise SweepError(f"{path}: no search here; start it with hydra/sweeper=optuna") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SweepError(f"{path}: not a search's settings ({error}); start the sweep again to write it anew") from None
