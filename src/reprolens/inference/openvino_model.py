"""OpenVINO files, run by OpenVINO on the CPU in float32.

Left to itself OpenVINO takes bfloat16 where the processor has it, which costs a hundredth of a score; here it does not.
What it compiles for batches of any number is 2 to 4 times as slow as for a certain number, because then no layer's
shape is known beforehand; so it compiles once for each number that comes. The pictures may be of any size all the same.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import openvino

from reprolens.errors import ExportError
from reprolens.inference.model import KEY, Found, Model, Pixels, read_contract
from reprolens.inference.outputs import Arrays, find, output_names

KEPT = 4
"""For so many numbers of pictures a batch the model stays compiled."""


class OpenVinoModel(Model):
    """An exported .xml with its .bin. Raises ExportError if OpenVINO cannot load it or it is not one of ours."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self._path = path
        self._core = openvino.Core()
        self._options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = str(threads)
        if not path.with_suffix(".bin").is_file():
            raise ExportError(f"{path}: its weights, {path.with_suffix('.bin').name}, do not lie beside it")
        try:
            self._model = self._core.read_model(path)
            said = self._model.get_rt_info([KEY]).astype(str) if self._model.has_rt_info([KEY]) else None
            self.contract = read_contract(said, path)
            self._names = output_names(self.contract)
        except ExportError:
            raise
        except Exception as error:  # OpenVINO raises kinds of its own
            raise ExportError(f"{path}: OpenVINO cannot load it ({last_line(error)})") from None
        self._compiled: OrderedDict[int, Any] = OrderedDict()

    def __call__(self, images: Pixels) -> list[Found]:
        return find(images, self.contract, self._run)

    def _run(self, images: Pixels) -> Arrays:
        try:
            found = self._for(len(images))(images)
            return {name: np.array(found[name]) for name in self._names}
        except Exception as error:
            raise ExportError(f"{self._path}: OpenVINO cannot run it ({last_line(error)})") from None

    def _for(self, batch: int) -> Any:
        """Return the model compiled for `batch` pictures; what was not wanted for longest makes room for it."""
        if batch not in self._compiled:
            model = self._model.clone()
            model.reshape({"images": [batch, -1, -1, 3]})
            self._compiled[batch] = self._core.compile_model(model, "CPU", self._options)
        self._compiled.move_to_end(batch)
        if len(self._compiled) > KEPT:
            self._compiled.popitem(last=False)
        return self._compiled[batch]


def last_line(error: Exception) -> str:
    """Return the last line that is not empty: above it OpenVINO tells the places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
