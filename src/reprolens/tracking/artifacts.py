"""The artifacts of a run: the data set by reference, and as files the model, its exported files, the predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprolens.config import Config
from reprolens.errors import TrackingError
from reprolens.tracking.identity import HASHED, Identity, artifact_name
from reprolens.tracking.reports import Reports

if TYPE_CHECKING:
    import wandb

MODEL = Path("weights/model.pt")
EXPORT = Path("export")
REJECTED = "rejected"
PREDICTIONS = Path("reports/predictions.json")
TRUTH = Path("reports/ground_truth.json")

GATE = "passed"
"""The alias of exported files, all as good as the trained model; one that is worse is in no artifact at all."""


def check_files(root: Path, reports: Reports) -> None:
    """Raise TrackingError if a file that is to become an artifact is missing."""
    published = [(EXPORT / file, "export") for file in reports.published.values()]
    for path, stage in ((MODEL, "train"), (PREDICTIONS, "evaluate"), *published):
        if not (root / path).is_file():
            raise TrackingError(f"{path}: not found; run dvc repro {stage}, or set tracking.artifacts: false")


def log_artifacts(run: "wandb.Run", root: Path, config: Config, identity: Identity, reports: Reports) -> None:
    """Log the data set as what the run used, then what was made from it. Files are copied into the run's folder.

    W&B's graph then leads from the data set over the run to the model, the exported files and the evaluation.
    """
    # use_artifact refuses offline, because it would wait for the server; the record that it writes is this one
    run._log_artifact(dataset_artifact(identity, reports), is_user_created=True, use_after_commit=True)
    run.log_artifact(model_artifact(root, config, identity, reports))
    run.log_artifact(evaluation_artifact(root, config, identity, reports))
    if passed_gate(reports):
        run.log_artifact(export_artifact(root, config, identity, reports), aliases=["latest", GATE])


def dataset_artifact(identity: Identity, reports: Reports) -> "wandb.Artifact":
    """Return the data set as a reference: its path and DVC hash, which decides its version. No file is read or sent."""
    import wandb

    metadata = dict(reports.metrics["dataset"]) | {"path": HASHED["data"], "classes": list(reports.classes)}
    artifact = wandb.Artifact(artifact_name(identity.data), type="dataset", metadata=metadata | _hash(identity, "data"))
    # The reference is the entry's whole digest, so a changed data set is a new version and an unchanged one is not.
    md5 = identity.hashes.get("data")
    artifact.add_reference(f"dvc:{HASHED['data']}" + (f"?md5={md5}" if md5 else ""), name="voc", checksum=False)
    return artifact


def model_artifact(root: Path, config: Config, identity: Identity, reports: Reports) -> "wandb.Artifact":
    """Return the trained weights, with the hashes of what they were made from and how good they are."""
    metadata: dict[str, Any] = {"metrics": _headline(reports)}
    artifact = _artifact(config, identity, reports, "model", metadata)
    artifact.add_file(str(root / MODEL), skip_cache=True)
    return artifact


def evaluation_artifact(root: Path, config: Config, identity: Identity, reports: Reports) -> "wandb.Artifact":
    """Return predictions and truth in COCO's format, with which anyone measures again, and the measures of them."""
    artifact = _artifact(config, identity, reports, "evaluation", {"metrics": _headline(reports)})
    artifact.add_file(str(root / PREDICTIONS), skip_cache=True)
    if (root / TRUTH).is_file():  # evaluations of before did not write it
        artifact.add_file(str(root / TRUTH), skip_cache=True)
    artifact.add_file(str(root / "reports" / "evaluation.json"), skip_cache=True)
    return artifact


def export_artifact(root: Path, config: Config, identity: Identity, reports: Reports) -> "wandb.Artifact":
    """Return the files of export/: the published models, what says how to use them, the model card.

    Those that the gate rejected lie in a folder there, which stays out, and so does what was measured of them.
    """
    rejected = tuple(f"{name}/" for name in reports.rejected)
    facts = {key: value for key, value in reports.metrics["export"].items() if not key.startswith(rejected)}
    # Within one key, because W&B takes 100 of them and no more.
    metadata = {"published": list(reports.published), "metrics": facts}
    artifact = _artifact(config, identity, reports, "export", metadata)
    for path in sorted((root / EXPORT).iterdir()):
        if path.name != REJECTED:
            path.stat()  # a broken link is an error of the system, wandb would call it one of the program
            artifact.add_file(str(path), skip_cache=True)
    return artifact


def passed_gate(reports: Reports) -> bool:
    """Return whether an exported file is as good as the trained model, so that it was published."""
    return bool(reports.published)


def _artifact(
    config: Config, identity: Identity, reports: Reports, kind: str, metadata: Mapping[str, Any]
) -> "wandb.Artifact":
    """Return an empty artifact of the model, with what it was made from and what `best` is decided by."""
    import wandb

    parts = [config.model.name, identity.data, *([kind] if kind != "model" else [])]
    origin: dict[str, Any] = {"model": config.model.name, "dvc": dict(identity.hashes)}
    if kind != "evaluation" and (objective := _objective(config, identity, reports)):
        origin["objective"] = objective
    return wandb.Artifact(artifact_name(*parts), type=kind, metadata={**metadata, **origin})


def _objective(config: Config, identity: Identity, reports: Reports) -> dict[str, Any] | None:
    """Return what versions are compared by: the sweep's first metric, and the data on which it was measured.

    What evaluate measured is of the evaluated split alone, which data/sha256 names: versions that were trained on other
    pictures, or on more of them, compete on it. What train measured is of its validation split, which has no hash of
    its own, so there the whole data set has to be the same.
    """
    name = config.sweep.metric[0]
    for report, metrics in reports.metrics.items():
        value = metrics.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            split = metrics.get("data/sha256") if report == "evaluation" else None
            direction = config.sweep.direction[0].value
            return {"name": name, "direction": direction, "value": value, "data": split or identity.hashes.get("data")}
    return None


def _hash(identity: Identity, name: str) -> dict[str, str]:
    return {"dvc_md5": identity.hashes[name]} if name in identity.hashes else {}


def _headline(reports: Reports) -> dict[str, Any]:
    """Return what is said of all classes together, with intervals (`coco/ap/low`); other third parts are classes."""
    metrics = reports.metrics["evaluation"]
    wholes = {key: key.removesuffix("/low").removesuffix("/high") for key in metrics}
    return {key: metrics[key] for key, whole in wholes.items() if whole.count("/") <= 1 and whole in metrics}
