"""The pretrain stage: starting weights from wherever the configuration says, training them here if need be."""

from reprolens.config import ArtifactWeights, Classify, Config, DvcWeights, FileWeights, Published
from reprolens.models.heads import without_memory
from reprolens.models.weights import (
    StartingWeights,
    artifact_weights,
    dvc_weights,
    file_weights,
    published_weights,
    random_weights,
)
from reprolens.training.classify import classified_weights
from reprolens.voc import Folder


def starting_weights(config: Config, folder: Folder) -> StartingWeights:
    """Return the starting weights that `config.pretrain` asks for.

    Raises WeightsError if they cannot be had, ConfigError if there is no such model, in any case before training.
    """
    without_memory(config.model, len(folder.classes))
    match config.pretrain:
        case Published():
            return published_weights(config.pretrain, config.model)
        case FileWeights():
            return file_weights(config.pretrain, config.model)
        case ArtifactWeights():
            return artifact_weights(config.pretrain, config.model)
        case DvcWeights():
            return dvc_weights(config.pretrain, config.model)
        case Classify():
            return classified_weights(config.pretrain, config, folder)
        case _:
            return random_weights()
