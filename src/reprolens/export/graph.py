"""What stands before and behind the network in an ONNX file, as ONNX operators, for a batch of pictures of one size.

Before: pictures as they were decoded to the network's size and range. Behind: what torchvision's detectors do with
their candidates, thresholds, suppression by class and the best of all classes. torch's exporter refuses that because
its shapes depend on the data; here they do not: what is not found is a row of zeros.
"""

from onnx import ModelProto, helper, parser

from reprolens.inference.model import Contract

# Without `exclude_outside` ONNX repeats the picture's edge where the filter reaches over it, which torch does not. All
# sizes are given, not those of two axes, because onnxruntime turns 8-bit networks to channels last, but not `axes`.
_BEFORE = """
before (uint8[{batch}, height, width, 3] images) => (float[{batch}, 3, {h}, {w}] pixels, float[4] scale)
<int64[3] size = {{3, {h}, {w}}}, float one = {{255.0}}, float[2] sides = {{{h}.0, {w}.0}},
 int64[4] turned = {{1, 0, 1, 0}}>
{{
    channels = Transpose <perm = [0, 3, 1, 2]> (images)
    numbers = Cast <to = 1> (channels)
    pictures = Shape <start = 0, end = 1> (images)
    sizes = Concat <axis = 0> (pictures, size)
    resized = Resize <mode = "linear", antialias = 1, exclude_outside = 1,
        coordinate_transformation_mode = "half_pixel"> (numbers, , , sizes)
    pixels = Div (resized, one)
    shape = Shape <start = 1, end = 3> (images)
    original = Cast <to = 1> (shape)
    ratios = Div (original, sides)
    scale = Gather (ratios, turned)
}}
"""

_CANDIDATES = """
after (float[{batch}, {anchors}, 4] dense_boxes, float[{batch}, {anchors}, {classes}] dense_scores, float[4] scale)
    => (float[{batch}, {anchors}, 4] candidate_boxes, float[{batch}, {anchors}, {classes}] candidate_scores)
{{
    candidate_boxes = Mul (dense_boxes, scale)
    candidate_scores = Identity (dense_scores)
}}
"""

# Suppression names what it keeps; all else gets the score 0, and the best of a picture's boxes and classes are taken.
_DETECTIONS = """
after (float[{batch}, {anchors}, 4] dense_boxes, float[{batch}, {anchors}, {classes}] dense_scores, float[4] scale)
    => (float[{batch}, {rows}, 4] boxes, float[{batch}, {rows}] scores, int64[{batch}, {rows}] labels,
        int64[{batch}] counts)
<int64[1] most = {{{most}}}, int64[1] rows = {{{rows}}}, float[1] iou = {{{iou}}}, float[1] least = {{{least}}},
 int64 anchors = {{{anchors}}}, float nothing = {{0.0}}, int64[1] last = {{-1}}>
{{
    candidate_boxes = Mul (dense_boxes, scale)
    candidate_scores = Identity (dense_scores)
    by_class = Transpose <perm = [0, 2, 1]> (candidate_scores)
    kept = NonMaxSuppression (candidate_boxes, by_class, most, iou, least)
    kept_scores = GatherND (by_class, kept)
    by_class_shape = Shape (by_class)
    blank = ConstantOfShape (by_class_shape)
    by_class_kept = ScatterND (blank, kept, kept_scores)
    all_kept = Flatten <axis = 1> (by_class_kept)
    scores, places = TopK <axis = 1> (all_kept, rows)
    is_found = Greater (scores, nothing)
    found = Cast <to = 7> (is_found)
    counts = ReduceSum <keepdims = 0> (found, last)
    classes = Div (places, anchors)
    labels = Mul (classes, found)
    rows_of_boxes = Mod (places, anchors)
    box_places = Unsqueeze (rows_of_boxes, last)
    best_boxes = GatherND <batch_dims = 1> (candidate_boxes, box_places)
    is_box = Unsqueeze (is_found, last)
    boxes = Where (is_box, best_boxes, nothing)
}}
"""

_TWO_STAGE = """
after (float[N, 4] found_boxes, float[N] found_scores, int64[N] found_labels, float[4] scale)
    => (float[1, {most}, 4] boxes, float[1, {most}] scores, int64[1, {most}] labels, int64[1] counts)
<int64[1] most = {{{most}}}, int64[1] zero = {{0}}>
{{
    counts = Shape (found_scores)
    missing = Sub (most, counts)
    pads = Concat <axis = 0> (zero, missing)
    box_pads = Concat <axis = 0> (zero, zero, missing, zero)
    in_picture = Mul (found_boxes, scale)
    padded_boxes = Pad (in_picture, box_pads)
    padded_scores = Pad (found_scores, pads)
    padded_labels = Pad (found_labels, pads)
    boxes = Unsqueeze (padded_boxes, zero)
    scores = Unsqueeze (padded_scores, zero)
    labels = Unsqueeze (padded_labels, zero)
}}
"""


def before(contract: Contract, ir_version: int, opset: int) -> ModelProto:
    """Return `images (batch, height, width, 3)` uint8 to `pixels (batch, 3, h, w)` and `scale (4,)`.

    `scale` takes boxes from the network's pixels to the pictures'.
    """
    height, width = contract.size
    return _parse(_BEFORE.format(batch=_batch(contract), h=height, w=width), ir_version, opset)


def after_dense(contract: Contract, anchors: int, ir_version: int, opset: int) -> ModelProto:
    """Return `dense_boxes (batch, A, 4)`, `dense_scores (batch, A, K)` and `scale` to what the contract promises."""
    text = _DETECTIONS if contract.postprocess else _CANDIDATES
    values = {
        "batch": _batch(contract),
        "anchors": anchors,
        "classes": len(contract.classes),
        "most": contract.detections_per_image,
        "rows": min(contract.detections_per_image, anchors * len(contract.classes)),
        "iou": contract.nms_threshold,
        "least": contract.score_threshold,
    }
    return _parse(text.format(**values), ir_version, opset)


def after_two_stage(contract: Contract, ir_version: int, opset: int) -> ModelProto:
    """Return `found_boxes (N, 4)`, `found_scores (N,)`, `found_labels (N,)` and `scale` to a batch of one picture."""
    return _parse(_TWO_STAGE.format(most=contract.detections_per_image), ir_version, opset)


def _batch(contract: Contract) -> int | str:
    return "batch" if contract.batch is None else contract.batch


def _parse(text: str, ir_version: int, opset: int) -> ModelProto:
    return helper.make_model(
        parser.parse_graph(text), ir_version=ir_version, opset_imports=[helper.make_opsetid("", opset)]
    )
