"""The numbers: arrays in, VOC's, COCO's and other tasks' measures out; no torch, no files."""
