"""Specifications of dashboards, parsed, for the tests of what they ask for; needs the extra `dashboard`."""

import json
from collections.abc import Iterator
from typing import Any

from reprolens.tracking.dashboard.save import specification
from reprolens.tracking.dashboard.subject import Subject, TrialRun

SUBJECT = Subject("digits", "tester", "voc12/map50", swept=("model.name", "optimizer.lr", "seed"), sweep="lr=1+2")


def trial(number: int, value: float, half: float = 0.01, **config: Any) -> TrialRun:
    """Return a run whose objective is `value`, with an interval of twice `half`."""
    return TrialRun(
        id=f"id{number}",
        name=f"trial_{number}|x",
        config={"model": {"name": "yolox_nano"}, "optimizer": {"lr": 0.001 * number}, "seed": 1} | config,
        summary={
            "voc12/map50": value,
            "voc12/map50/low": value - half,
            "voc12/map50/high": value + half,
            "onnx/latency_ms/p50": 2.5,
            "train/seconds": 284.1,
        },
    )


RUNS = (trial(1, 0.90), trial(2, 0.95), trial(3, 0.96))


def specs(subject: Subject = SUBJECT, runs: tuple[TrialRun, ...] = RUNS) -> tuple[Any, Any]:
    """Return the specifications of the workspace and the report, parsed."""
    workspace, report = specification(subject, runs)
    return json.loads(workspace.spec), json.loads(report.spec)


def grids(workspace: Any, report: Any) -> Iterator[list[Any]]:
    """Yield the panels of each section and each grid."""
    for section in workspace["section"]["panelBankConfig"]["sections"]:
        yield section["panels"]
    for block in report["blocks"]:
        if block["type"] == "panel-grid":
            yield block["metadata"]["panelBankSectionConfig"]["panels"]


def named(panel: Any) -> Iterator[str]:
    """Yield the keys that a panel shows; those of a configuration as `config:...`."""
    config = panel["config"]
    yield from config.get("metrics", ())
    yield from config.get("mediaKeys", ())
    yield from (column["accessor"] for column in config.get("columns", ()))
    yield from (config[axis] for axis in ("xAxis", "yAxis", "targetKey") if axis in config)
    if panel["viewType"] == "Vega2":
        yield table_key(panel)
    if panel["viewType"] == "Weave":
        yield config["panel2Config"]["exp"]["fromOp"]["inputs"]["key"]["val"]


def table_key(panel: Any) -> str:
    """Return the table that a chart draws."""
    (query,) = panel["config"]["userQuery"]["queryFields"]
    (field,) = (field for field in query["fields"] if field["name"] == "summaryTable")
    return str(field["args"][0]["value"])
