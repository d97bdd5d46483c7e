"""The artifacts of a run: the data set by reference, the model and the exported model as files."""

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


def check_files(root: Path) -> None:
    """Raise TrackingError if a file that is to become an artifact is missing."""
    for path, stage in ((MODEL, "train"), (EXPORT / "model.onnx", "export")):
        if not (root / path).is_file():
            raise TrackingError(f"{path}: not found; run dvc repro {stage}, or set tracking.artifacts: false")


def log_artifacts(run: "wandb.Run", root: Path, config: Config, identity: Identity, reports: Reports) -> None:
    """Log the data set first, then what was made from it. Files are copied into the run's folder.

    Online the data set is marked as the run's input; wandb cannot say so offline, where it is logged like the others.
    """
    data = dataset_artifact(identity, reports)
    if run.offline:
        run.log_artifact(data)
    else:
        run.use_artifact(data)
    for artifact in (model_artifact(root, config, identity, reports), onnx_artifact(root, config, identity, reports)):
        run.log_artifact(artifact)


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
    import wandb

    metadata: dict[str, Any] = {"model": config.model.name, "metrics": _headline(reports), "dvc": dict(identity.hashes)}
    artifact = wandb.Artifact(artifact_name(config.model.name, identity.data), type="model", metadata=metadata)
    artifact.add_file(str(root / MODEL), skip_cache=True)
    return artifact


def onnx_artifact(root: Path, config: Config, identity: Identity, reports: Reports) -> "wandb.Artifact":
    """Return the folder export/: the ONNX file, its labels and its model card."""
    import wandb

    metadata: dict[str, Any] = {"model": config.model.name, **reports.metrics["export"], "dvc": dict(identity.hashes)}
    artifact = wandb.Artifact(artifact_name(config.model.name, identity.data, "onnx"), type="onnx", metadata=metadata)
    artifact.add_dir(str(root / EXPORT), skip_cache=True)
    return artifact


def _hash(identity: Identity, name: str) -> dict[str, str]:
    return {"dvc_md5": identity.hashes[name]} if name in identity.hashes else {}


def _headline(reports: Reports) -> dict[str, Any]:
    """Return the metrics over all classes, with their intervals (`coco/ap/low`); other third parts are classes."""
    metrics = reports.metrics["evaluation"]
    wholes = {key: key.removesuffix("/low").removesuffix("/high") for key in metrics}
    return {key: metrics[key] for key, whole in wholes.items() if whole.count("/") == 1 and whole in metrics}
