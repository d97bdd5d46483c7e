"""Small files that keep the contract of exported ones: what they find is the colour of the picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, parser

from reprolens.inference.model import KEY, Contract

CONTRACT = Contract("onnx", "colours", ("red", "green", "blue"), (8, 8), None, True, 0.1, 0.5, 3)

_SHARES = """
    axes = Constant <value_ints = [1, 2]> ()
    full = Constant <value = float {255.0}> ()
    numbers = Cast <to = 1> (images)
    means = ReduceMean <keepdims = 0> (numbers, axes)
    shares = Div (means, full)
    shape = Shape (images)
    sides_at = Constant <value_ints = [2, 1]> ()
    sides = Gather (shape, sides_at)
    far = Cast <to = 1> (sides)
    near = Constant <value_floats = [0.0, 0.0]> ()
    box = Concat <axis = 0> (near, far)
"""

_DETECTIONS = """
colours (uint8[batch, height, width, 3] images)
    => (float[batch, 3, 4] boxes, float[batch, 3] scores, int64[batch, 3] labels, int64[batch] counts)
{
    %s
    three = Constant <value_ints = [3]> ()
    scores, labels = TopK (shares, three)
    batch_size = Shape <start = 0, end = 1> (images)
    four = Constant <value_ints = [4]> ()
    all = Concat <axis = 0> (batch_size, three, four)
    boxes = Expand (box, all)
    least = Constant <value = float {0.1}> ()
    above = Greater (scores, least)
    ones = Cast <to = 7> (above)
    last = Constant <value_ints = [1]> ()
    counts = ReduceSum <keepdims = 0> (ones, last)
}
"""

# The second candidate is the first once more with half of its scores: suppressed wherever the first is found.
_CANDIDATES = """
colours (uint8[batch, height, width, 3] images)
    => (float[batch, 2, 4] candidate_boxes, float[batch, 2, 3] candidate_scores)
{
    %s
    two = Constant <value_ints = [2]> ()
    batch_size = Shape <start = 0, end = 1> (images)
    four = Constant <value_ints = [4]> ()
    all = Concat <axis = 0> (batch_size, two, four)
    candidate_boxes = Expand (box, all)
    middle = Constant <value_ints = [1]> ()
    first = Unsqueeze (shares, middle)
    half = Constant <value = float {0.5}> ()
    second = Mul (first, half)
    candidate_scores = Concat <axis = 1> (first, second)
}
"""


def write_colours(path: Path, **changes: Any) -> Path:
    """Write a file that finds the whole picture once for each channel that is above a tenth, its score being the
    channel's mean; `changes` are of its contract.
    """
    contract = replace(CONTRACT, **changes)
    text = (_DETECTIONS if contract.postprocess else _CANDIDATES) % _SHARES
    if contract.batch is not None:
        text = text.replace("uint8[batch,", f"uint8[{contract.batch},")
    model = helper.make_model(parser.parse_graph(text), ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    helper.set_model_props(model, {KEY: contract.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path
