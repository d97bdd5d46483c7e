"""Any labelled data set becomes a VOC folder. One file a source format."""

from reprolens.convert.convert import convert

__all__ = ["convert"]
