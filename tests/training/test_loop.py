"""The training loop: what it repeats, keeps, writes and refuses."""

import csv
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from reprolens.config import Config
from reprolens.errors import TrainingError, WeightsError
from reprolens.models import build
from reprolens.models.freezing import backbone_stages
from reprolens.models.weights import StartingWeights, save_starting_weights
from reprolens.training.detection import train_detector
from reprolens.training.ema import ExponentialMovingAverage
from reprolens.training.loop import CLOCKED, Batch, Task, _step
from reprolens.training.state import Run
from reprolens.voc import Folder

Compose = Callable[..., Config]
Weights = dict[str, Tensor]
Trained = tuple[Weights, dict[str, Any], list[dict[str, str]]]
Train = Callable[..., Trained]


class Script:
    """A measure that says what it is told to, and keeps the weights that it was shown."""

    def __init__(self, *values: float) -> None:
        self.values, self.shown = values, list[Weights]()

    def __call__(
        self, model: nn.Module, batches: Iterable[Any], classes: tuple[str, ...], gather: Any
    ) -> Mapping[str, float]:
        self.shown.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"map50": 0.5, "map": self.values[len(self.shown) - 1]}


@pytest.fixture
def train(digits: Folder, initial: Path, tmp_path: Path) -> Train:
    """Return a trainer of a configuration: the weights that it keeps, the report and the history's rows."""

    def run(config: Config, measure: Any = None, weights: Path = initial) -> Trained:
        history = tmp_path / "history.csv"
        trained = train_detector(config, digits, weights, history, measure or Script(*range(100)))
        with history.open(newline="", encoding="utf-8") as file:
            return trained.state, trained.report, list(csv.DictReader(file))

    return run


def _equal(first: Weights, second: Weights) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _timeless(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in CLOCKED} for row in rows]


def test_the_same_seed_gives_the_same_bits_with_any_number_of_workers(train: Train, configure: Compose) -> None:
    first, again, parallel = (train(configure(f"trainer.workers={workers}")) for workers in (0, 0, 2))
    for other in (again, parallel):
        assert _equal(first[0], other[0])
        assert _timeless(first[2]) == _timeless(other[2])
    assert not _equal(first[0], train(configure("seed=2"))[0])


def test_the_weights_of_the_best_epoch_are_kept(train: Train, configure: Compose) -> None:
    measure = Script(0.1, 0.9, 0.3)
    state, report, rows = train(configure("trainer.max_epochs=3"), measure)
    assert [_equal(state, shown) for shown in measure.shown] == [False, True, False]
    assert (report["best/epoch"], report["epochs"], report["val/map"], report["val/map50"]) == (2, 3, 0.9, 0.5)
    assert [float(row["val/map"]) for row in rows] == [0.1, 0.9, 0.3]


def test_of_equally_good_epochs_the_first_is_kept(train: Train, configure: Compose) -> None:
    assert train(configure(), Script(0.0, 0.0))[1]["best/epoch"] == 1


@pytest.mark.parametrize(
    ("patience", "every", "values", "epochs"),
    [
        (2, 1, (0.1, 0.5, 0.4, 0.5, 0.9), 4),
        (1, 2, (0.5, 0.4, 0.9), 4),
        ("null", 1, (0.5, 0.4, 0.3, 0.2, 0.1, 0.0), 6),
    ],
)
def test_patience_counts_the_evaluations_since_the_best(
    patience: object, every: int, values: tuple[float, ...], epochs: int, train: Train, configure: Compose
) -> None:
    knobs = ["trainer.max_epochs=6", "trainer.batch_size=16", f"trainer.evaluate_every={every}"]
    _, report, rows = train(configure(*knobs, f"trainer.patience={patience}"), Script(*values))
    assert report["epochs"] == len(rows) == epochs


def test_the_history_has_a_row_an_epoch_and_empty_cells_where_nothing_was_evaluated(
    train: Train, configure: Compose
) -> None:
    knobs = ["trainer.max_epochs=3", "trainer.evaluate_every=2", "optimizer.lr=1e-3", "schedule.final_factor=0.5"]
    _, report, rows = train(configure(*knobs), Script(0.2, 0.1))
    parts = {"classification", "bbox_regression", "bbox_ctrness"}
    assert set(rows[0]) == {
        *("epoch", "global_step", "lr", "train/loss", *(f"train/{part}" for part in parts)),
        *("val/map50", "val/map", *CLOCKED),
    }
    assert list(rows[0])[:4] == ["epoch", "global_step", "lr", "train/loss"]
    assert [(row["epoch"], row["global_step"]) for row in rows] == [("1", "4"), ("2", "8"), ("3", "12")]
    assert [row["val/map"] for row in rows] == ["", "0.2", "0.1"]  # the last epoch always counts
    for row in rows:
        assert float(row["train/loss"]) == pytest.approx(sum(float(row[f"train/{part}"]) for part in parts), rel=1e-4)
    rates = [float(row["lr"]) for row in rows]
    assert 1e-3 > rates[0] > rates[1] > rates[2] > 0.5e-3
    assert (report["steps"], report["best/epoch"]) == (12, 2)


def test_two_epochs_make_the_loss_smaller(train: Train, configure: Compose) -> None:
    rows = train(configure("augment=none", "optimizer.lr=2e-3"))[2]
    assert float(rows[1]["train/loss"]) < 0.9 * float(rows[0]["train/loss"])


def test_a_loss_that_is_not_finite_names_the_pictures(train: Train, configure: Compose, digits: Folder) -> None:
    with pytest.raises(TrainingError) as caught:
        train(configure("optimizer=sgd", "optimizer.lr=1e30", "trainer.gradient_clip=0", "schedule.warmup_epochs=0"))
    message = str(caught.value)
    assert "the loss is not finite at step 2" in message
    assert "lower optimizer.lr" in message
    assert sum(id in message for id in digits.splits["train"]) == 4  # the batch
    assert "\n" not in message


def test_without_averaging_the_weights_kept_are_the_model_s_own(train: Train, configure: Compose) -> None:
    averaged, own = (train(configure(f"trainer.ema_decay={decay}"))[0] for decay in (0.9, 0.0))
    assert averaged.keys() == own.keys()
    assert not _equal(averaged, own)


def test_clipping_bounds_how_far_a_step_goes(train: Train, configure: Compose, digits: Folder, initial: Path) -> None:
    sgd = ["optimizer=sgd", "optimizer.lr=1", "optimizer.momentum=0", "optimizer.weight_decay=0", "schedule=constant"]
    config = configure(*sgd, "schedule.warmup_epochs=0", "trainer.ema_decay=0", "trainer.gradient_clip=1e-3")
    accelerate.utils.set_seed(config.seed)
    before = dict(build(config.model, len(digits.classes)).named_parameters())
    state, report, _ = train(config)
    moved = torch.stack([(state[name] - value.detach()).norm() for name, value in before.items()]).norm()
    assert 0 < moved <= report["steps"] * 1e-3 * 1.01


def test_each_training_has_the_precision_asked_for_whatever_an_earlier_one_had(
    train: Train, configure: Compose
) -> None:
    single = train(configure())[0]
    half, report, _ = train(configure("trainer.precision=bf16"))
    assert report["precision"] == "bf16"
    assert not _equal(half, single)
    assert all(bool(value.isfinite().all()) and value.dtype == single[name].dtype for name, value in half.items())
    assert _equal(train(configure())[0], single)


def test_what_last_layers_holds_still_comes_out_bit_equal(
    train: Train, configure: Compose, digits: Folder, tmp_path: Path
) -> None:
    config = configure("transfer=last_layers", "transfer.trainable_stages=2")
    source = build(config.model, len(digits.classes))
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(source.state_dict(), (), {}))
    state, report, _ = train(config, weights=tmp_path / "initial.pt")
    names = {id(value): name for name, value in source.state_dict(keep_vars=True).items()}
    held = [
        names[id(value)]
        for stage in backbone_stages(source)[:-2]
        for value in stage.state_dict(keep_vars=True).values()
    ]
    assert [name for name in held if not torch.equal(state[name], source.state_dict()[name])] == []
    assert not _equal(state, source.state_dict())
    assert report["parameters/trained"] < report["parameters"]


def test_the_report_says_what_of_the_starting_weights_entered(train: Train, configure: Compose, tmp_path: Path) -> None:
    config = configure()
    other = build(config.model, 3).state_dict()
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(other, (), {}))
    report = train(config, weights=tmp_path / "initial.pt")[1]
    heads = [f"head.classification_head.cls_logits.{kind}" for kind in ("bias", "weight")]
    assert (report["weights/mismatched"], report["mismatched_tensors"]) == (2, heads)
    assert (report["weights/kept"], report["weights/new"]) == (len(other) - 2, 0)


def test_a_single_picture_a_batch_is_refused_where_a_map_is_one_pixel(train: Train, configure: Compose) -> None:
    with pytest.raises(TrainingError, match=r"trainer\.batch_size: this model needs at least 2"):
        train(configure("model=ssdlite320_mobilenet_v3_large", "trainer.batch_size=1"))


def test_missing_starting_weights_are_named(train: Train, configure: Compose, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pt: there is no such file"):
        train(configure(), weights=tmp_path / "absent.pt")


def test_batches_of_half_the_size_taken_two_a_step_make_as_many_steps(train: Train, configure: Compose) -> None:
    _, whole, rows = train(configure("trainer.batch_size=8"))
    _, halves, halved_rows = train(configure("trainer.batch_size=4", "trainer.accumulate=2"))
    assert whole["steps"] == halves["steps"] == 4
    assert [row["lr"] for row in rows] == [row["lr"] for row in halved_rows]


def test_two_halves_accumulated_give_the_gradient_of_the_whole() -> None:
    weight = nn.Linear(3, 1, bias=False)
    images = torch.arange(12, dtype=torch.uint8).reshape(4, 3, 1, 1)
    task = Task(lambda model, pictures, targets: {"mean": model(pictures.flatten(1)).mean()}, lambda model: {}, "mean")
    optimizer = torch.optim.SGD(weight.parameters(), lr=1.0)
    before = weight.weight.detach().clone()
    moves = []
    for batches in ([images], [images[:2], images[2:]]):
        weight.load_state_dict({"weight": before})
        accelerator = accelerate.Accelerator(cpu=True)
        schedule = LambdaLR(optimizer, lambda step: 1.0)
        average = ExponentialMovingAverage(weight, 0.0)
        run = Run(accelerator, weight, average, accelerator.prepare(optimizer), schedule)
        loss = _step(run, task, [Batch(part, [], ["a"] * len(part)) for part in batches], 0.0)["loss"]
        moves.append((loss, weight.weight.detach() - before))
    assert moves[0][0] == pytest.approx(moves[1][0])
    torch.testing.assert_close(moves[0][1], moves[1][1])


@pytest.mark.parametrize(("knob", "steps", "epochs"), [("max_steps=6", 6, 2), ("max_steps=4", 4, 1)])
def test_training_ends_after_so_many_steps_with_an_evaluation(
    knob: str, steps: int, epochs: int, train: Train, configure: Compose
) -> None:
    _, report, rows = train(configure("trainer.max_epochs=3", f"trainer.{knob}"))
    assert (report["steps"], report["epochs"], len(rows)) == (steps, epochs, epochs)
    assert rows[-1]["val/map"] != ""
    assert int(rows[-1]["global_step"]) == steps


def test_training_ends_when_its_minutes_are_over(train: Train, configure: Compose) -> None:
    report = train(configure("trainer.max_epochs=50", "trainer.max_minutes=0.00001"))[1]
    assert (report["steps"], report["epochs"]) == (1, 1)


def test_the_last_epoch_can_be_kept_instead_of_the_best(train: Train, configure: Compose) -> None:
    measure = Script(0.9, 0.3)
    state, report, _ = train(configure("trainer.keep=last"), measure)
    assert [_equal(state, shown) for shown in measure.shown] == [False, True]
    assert (report["kept/epoch"], report["best/epoch"], report["val/map"]) == (2, 1, 0.3)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        (["model=ssd300_vgg16", "model.image_size=[300,300]", "augment.multi_scale=[0.8,1.2]"], "augment.multi_scale"),
        (["trainer.accumulate=5"], "trainer.accumulate: 5, but an epoch has only 4 batches"),
        (["trainer.precision=fp16"], "trainer.precision: fp16 needs a GPU"),
        (["data.train=1", "trainer.processes=9"], None),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_first_step(
    knobs: list[str], line: str | None, train: Train, configure: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Script()
    if line is None:
        monkeypatch.setenv("WORLD_SIZE", "9")
        line = "trainer.processes: 9 need at least 18 train pictures"
    with pytest.raises(TrainingError, match=line):
        train(configure(*knobs), measure)
    assert measure.shown == []


def test_gradual_unfreezing_trains_a_stage_from_its_epoch_on(
    train: Train, configure: Compose, digits: Folder, tmp_path: Path
) -> None:
    unfreezing = ["transfer=last_layers", "transfer.trainable_stages=0", "transfer.unfreeze_every=1"]
    config = configure(*unfreezing, "trainer.max_epochs=3", "trainer.ema_decay=0")
    source = build(config.model, len(digits.classes))
    save_starting_weights(tmp_path / "initial.pt", StartingWeights(source.state_dict(), (), {}))
    measure = Script(0.1, 0.2, 0.3)
    train(config, measure, weights=tmp_path / "initial.pt")
    names = {id(value): name for name, value in source.named_parameters()}
    last = [[names[id(value)] for value in stage.parameters()] for stage in backbone_stages(source)[-3:]]
    before = [dict(source.named_parameters()), *measure.shown]
    moved = [
        [any(not torch.equal(after[name], earlier[name]) for name in stage) for stage in last]
        for earlier, after in pairwise(before)
    ]
    assert moved == [[False, False, False], [False, False, True], [False, True, True]]


def test_what_the_loader_decodes_in_advance_never_changes_the_result(train: Train, configure: Compose) -> None:
    kept, again = (train(configure("augment=mosaic", f"trainer.cache={cache}")) for cache in ("memory", "none"))
    assert _equal(kept[0], again[0])
    assert _timeless(kept[2]) == _timeless(again[2])


def test_a_gradient_that_is_not_finite_stops_before_it_enters_the_weights() -> None:
    weight = nn.Linear(3, 1, bias=False)
    before = weight.weight.detach().clone()
    optimizer = torch.optim.SGD(weight.parameters(), lr=1.0)
    task = Task(lambda model, images, targets: {"root": (model(images.flatten(1)) * 0).sqrt().sum()}, lambda m: {}, "x")
    accelerator = accelerate.Accelerator(cpu=True)
    schedule = LambdaLR(optimizer, lambda step: 1.0)
    run = Run(accelerator, weight, ExponentialMovingAverage(weight, 0.0), accelerator.prepare(optimizer), schedule)
    batch = Batch(torch.ones(2, 3, 1, 1, dtype=torch.uint8), [], ["first", "second"])
    with pytest.raises(TrainingError, match=r"the gradient is not finite at step 1 .*: first, second"):
        _step(run, task, [batch], 10.0)
    assert torch.equal(weight.weight, before)
