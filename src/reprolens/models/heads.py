"""Heads matched by class name: the rows of known classes come with the starting weights, wherever their index was.

Which tensors grow with the number of classes is found by building the model twice without memory (torch's meta device)
and comparing shapes. Within such a tensor the rows of one class lie together in one of two ways:

- `(anchor, class)`: torchvision's FCOS, RetinaNet and SSD see their logits as `(N, anchors, classes, H, W)`;
- `(class, coordinate)`: Faster R-CNN reshapes `bbox_pred` to `(N, classes, 4)`. The registry's `class_major` tells.

Where there is one row a class, as in `cls_score` or Mask R-CNN's logits, both are the same. Rows that precede the
classes (the background; box and objectness in YOLOv3's `anchors x (5 + classes)`) belong to all classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reprolens.config import Model
from reprolens.models.background import NEVER
from reprolens.models.registry import build, get


@dataclass(frozen=True)
class ClassRows:
    """Where the classes lie: along `dimension`, a tensor is `before * (leading + classes) * after` long."""

    dimension: int
    before: int
    leading: int
    after: int

    def grouped(self, tensor: Tensor) -> Tensor:
        """Return a view of `tensor` whose `dimension + 1` is `leading + classes` long."""
        return tensor.unflatten(self.dimension, (self.before, -1, self.after))

    def shape(self, own: torch.Size, classes: int) -> tuple[int, ...]:
        """Return the shape that a tensor of shape `own` has in a model of another number of classes."""
        length = self.before * (self.leading + classes) * self.after
        return (*own[: self.dimension], length, *own[self.dimension + 1 :])

    def classes(self, shape: torch.Size) -> int | None:
        """Return of how many classes a tensor of that shape is; None if it is of no whole number of them."""
        length = shape[self.dimension] if self.dimension < len(shape) else 0
        whole, rest = divmod(length, self.before * self.after)
        return whole - self.leading if rest == 0 and whole >= self.leading else None


def class_rows(options: Model) -> dict[str, ClassRows]:
    """Return, by name, the tensors of a model that depend on the classes, and how. Random states are left alone."""
    one, two = (without_memory(options, classes).state_dict() for classes in (1, 2))
    class_major = get(options.name).class_major
    return {
        name: _class_rows(name, tensor.shape, two[name].shape, name.rpartition(".")[0] in class_major)
        for name, tensor in one.items()
        if tensor.shape != two[name].shape
    }


def without_memory(options: Model, classes: int) -> nn.Module:
    """Build a model whose tensors have shapes but no values (torch's meta device). Random states are left alone.

    Where a network computes its own layout with tensors (torchvision's RegNet), it is built with values after all.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return build(options, classes)
        except NotImplementedError:  # torch's word for a value that a tensor without one cannot give
            return build(options, classes)


def count_classes(given: Mapping[str, Tensor], rows: Mapping[str, ClassRows]) -> int | None:
    """Return of how many classes the tensors of `rows` in `given` are; None if it has none, or they disagree."""
    counts = {rows[name].classes(given[name].shape) for name in rows if name in given}
    return counts.pop() if len(counts) == 1 else None


def _class_rows(name: str, one: torch.Size, two: torch.Size, class_major: bool) -> ClassRows:
    """Return how a tensor of shape `one` in a model of one class grows to `two` in a model of two.

    Raises ValueError if it grows in a way that `ClassRows` cannot say, which is a matter for who adds the model.
    """
    grown = [dimension for dimension, (small, large) in enumerate(zip(one, two, strict=True)) if small != large]
    rows = two[grown[0]] - one[grown[0]]  # of a class
    if len(grown) > 1 or rows < 0 or one[grown[0]] % rows:
        raise ValueError(f"{name}: {tuple(one)} for one class, {tuple(two)} for two: not so many rows for each")
    before, after = (1, rows) if class_major else (rows, 1)
    return ClassRows(grown[0], before, one[grown[0]] // rows - 1, after)


def head_by_name(
    given: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    rows: Mapping[str, ClassRows],
    known: tuple[str, ...],
    classes: tuple[str, ...],
) -> dict[str, Tensor]:
    """Return the tensors of `rows` that `given` has, put together row by row for `classes`, in index order.

    `given` knows the classes `known`, in index order; an empty name stands for a row that no class has. Rows of classes
    that are in both come from `given`, so do those that precede the classes; the others are the model's `own`. Nothing
    is returned if one of the tensors has a shape that `known` does not explain: its rows cannot be told apart then.
    """
    names = [name for name in rows if name in given and name in own]
    if any(given[name].shape != rows[name].shape(own[name].shape, len(known)) for name in names):
        return {}
    pairs = [(known.index(name), classes.index(name)) for name in classes if name and name in known]
    return {name: _joined(given[name], own[name], rows[name], pairs) for name in names}


def _joined(given: Tensor, own: Tensor, rows: ClassRows, pairs: list[tuple[int, int]]) -> Tensor:
    """Return `own` with rows of `given`; `pairs` are the indices there and here of the classes that both have."""
    joined, dimension = own.clone(memory_format=torch.contiguous_format), rows.dimension + 1
    leading = [(index, index) for index in range(rows.leading)]
    both = [*leading, *((rows.leading + there, rows.leading + here) for there, here in pairs)]
    there, here = torch.tensor(both, dtype=torch.int64, device=own.device).reshape(-1, 2).unbind(1)
    taken = rows.grouped(given.to(joined)).index_select(dimension, there)
    rows.grouped(joined).index_copy_(dimension, here, taken)
    return joined


def keep_silent(tensor: Tensor, fresh: Tensor) -> Tensor:
    """Return `tensor` with the biases that `silence_background` set in `fresh`, the model's own values before."""
    return torch.where(fresh == NEVER, fresh, tensor.to(fresh))
