"""A W&B server on 127.0.0.1, in memory, for the real client: GraphQL, file_stream, uploads and downloads, and faults.

It was learnt from what wandb 0.31 sends and reads. Where it matters to us it behaves as the real server does: history
lines lie at their offset, so that a line sent twice is there once; a run that is opened again keeps its history; a
deleted run's id is refused for ever; an artifact of a digest that the collection has is no new version; an alias
belongs to one version of a collection; a view is updated by its id. What it does not know, it notes in `unknown`.
"""

from tracking.server.handler import Call, Server
from tracking.server.state import ServedArtifact, ServedRun, ServedView

__all__ = ["Call", "ServedArtifact", "ServedRun", "ServedView", "Server"]
