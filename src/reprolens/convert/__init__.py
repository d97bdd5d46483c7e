"""Any labelled data set becomes a VOC folder. One file a source format; `FORMATS` is the list."""

from reprolens.convert.convert import FORMATS, convert

__all__ = ["FORMATS", "convert"]
