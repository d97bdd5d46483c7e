"""What the starting weights expect of a picture, the trained ones expect too, and the report says it."""

from collections.abc import Callable
from pathlib import Path

from reprolens.config import Config
from reprolens.models import build
from reprolens.models.preprocessing import IMAGENET, Preprocessing
from reprolens.models.weights import StartingWeights, save_starting_weights
from reprolens.training.detection import train_detector
from reprolens.voc import Folder

SWAPPED = Preprocessing((103.53, 116.28, 123.675), (57.375, 57.12, 58.395), 255.0, "BGR")


def test_training_goes_on_with_the_preprocessing_of_its_starting_weights(
    configure: Callable[..., Config], digits: Folder, tmp_path: Path
) -> None:
    config, seen = configure("trainer.max_epochs=1"), list[Preprocessing]()
    state = build(config.model, len(digits.classes)).state_dict()
    for said, expected in ((SWAPPED, SWAPPED), (None, IMAGENET)):
        save_starting_weights(tmp_path / "initial.pt", StartingWeights(state, (), {}, said))

        def measure(model: object, *rest: object) -> dict[str, float]:
            seen.append(model.transform.preprocessing)  # type: ignore[attr-defined]
            return {"map": 0.0}

        trained = train_detector(config, digits, tmp_path / "initial.pt", tmp_path / "history.csv", measure)
        assert trained.preprocessing == expected == seen[-1]
        report = trained.report
        assert (report["preprocessing/range"], report["preprocessing/order"]) == (expected.range, expected.order)
        assert (report["preprocessing/mean"], report["preprocessing/std"]) == (list(expected.mean), list(expected.std))
