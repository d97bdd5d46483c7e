"""The pretrain stage: starting weights from wherever the configuration says, training them here if need be."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from reprolens.config import Classify, Config, FileWeights, Published
from reprolens.errors import ConfigError, DataError
from reprolens.loading import open_rgb
from reprolens.models.registry import build
from reprolens.models.weights import StartingWeights, file_weights, published_weights, random_weights
from reprolens.progress import bar
from reprolens.voc import Folder


def starting_weights(config: Config, folder: Folder) -> StartingWeights:
    """Return the starting weights that `config.pretrain` asks for. Raises WeightsError if they cannot be had."""
    match config.pretrain:
        case Published():
            return published_weights(config.pretrain, config.model)
        case FileWeights():
            return file_weights(config.pretrain, config.model)
        case Classify():
            return classify_crops(config.pretrain, config, folder)
        case _:
            return random_weights()


def classify_crops(pretrain: Classify, config: Config, folder: Folder) -> StartingWeights:
    """Train the detector's backbone, its pyramid included, to name the objects of the train split.

    What the backbone gives at every level is averaged over the picture and joined; one linear layer names the class.
    Raises ConfigError if the backbone cannot take pictures as small as `pretrain.crop_size`, DataError if there are
    fewer than two objects.
    """
    torch.manual_seed(config.seed)
    detector = build(config.model, len(folder.classes))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = detector.get_submodule("backbone").to(device)
    transform = detector.get_submodule("transform")
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.image_mean, transform.image_std))
    crops, labels = _crops(folder, pretrain.crop_size)
    try:
        with torch.no_grad():
            blank = torch.zeros(1, 3, pretrain.crop_size, pretrain.crop_size, device=device)
            width = _pooled(backbone.eval(), blank).shape[1]  # in evaluation mode it leaves running statistics alone
    except RuntimeError:
        raise ConfigError(f"pretrain.crop_size: {pretrain.crop_size} is too small for {config.model.name}") from None
    head = nn.Linear(width, len(folder.classes)).to(device)

    def name(indices: np.ndarray) -> Tensor:
        images = (crops[indices].float() / 255 - mean) / std
        return head(_pooled(backbone, images.to(device)))

    backbone.train()
    accuracy = _teach(name, [*backbone.parameters(), *head.parameters()], labels.to(device), pretrain, config.seed)
    state = {f"backbone.{name}": value.detach().cpu() for name, value in backbone.state_dict().items()}
    origin = {
        "source": "classify",
        "name": f"{config.model.name} backbone, trained on the crops of the train split",
        "crops": len(crops),
        "epochs": pretrain.max_epochs,
        "accuracy": accuracy,
        "licence": "as the data set's owner says",
    }
    return StartingWeights(state, (), origin)


def _teach(
    name: Callable[[np.ndarray], Tensor], parameters: list[nn.Parameter], labels: Tensor, pretrain: Classify, seed: int
) -> float:
    """Train `name`, which gives the logits of the crops at some indices; return the last epoch's accuracy."""
    optimizer = torch.optim.AdamW(parameters, lr=pretrain.lr)
    batches = max(1, len(labels) // pretrain.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, pretrain.lr, total_steps=batches * pretrain.max_epochs)
    random = np.random.default_rng(seed)
    with bar("pretrain", batches * pretrain.max_epochs) as line:
        for epoch in range(1, pretrain.max_epochs + 1):
            right = 0
            order = random.permutation(len(labels))[: batches * pretrain.batch_size]
            for indices in np.array_split(order, batches):
                logits = name(indices)
                functional.cross_entropy(logits, labels[indices]).backward()
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
                right += int((logits.argmax(1) == labels[indices]).sum())
                line.note(f"epoch {epoch}/{pretrain.max_epochs}")
                line.advance()
    return right / len(order)


def _pooled(backbone: nn.Module, images: Tensor) -> Tensor:
    """Return `(N, C)`: every level of the backbone averaged over the picture, side by side."""
    levels = backbone(images)
    return torch.cat([level.mean((2, 3)) for level in levels.values()], dim=1)


def _crops(folder: Folder, side: int) -> tuple[Tensor, Tensor]:
    """Return the train split's objects, cut out and resized: `(N, 3, side, side)` uint8, and their classes `(N,)`."""
    crops, labels = [], []
    for record in folder.records("train"):
        picture = open_rgb(folder, record)
        for item in record.objects:
            if not item.crowd:
                crop = picture.resize((side, side), Image.Resampling.BILINEAR, box=item.box)
                crops.append(torch.from_numpy(np.array(crop)).permute(2, 0, 1))
                labels.append(folder.classes.index(item.name))
    if len(crops) < 2:  # BatchNorm needs two
        raise DataError(f"{folder.root}: its train split has {len(crops)} objects, too few for pretrain: classify")
    return torch.stack(crops), torch.tensor(labels)
