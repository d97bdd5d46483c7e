"""A trained model as files that run without Reprolens, published only if they are as good as the model.

Nothing heavy is imported before it is known that what is asked for can be had.
"""

from reprolens.export.export import export_model, refuse, told_rejected
from reprolens.export.formats import check_formats

__all__ = ["check_formats", "export_model", "refuse", "told_rejected"]
