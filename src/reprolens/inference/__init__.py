"""Exported models at work: pictures in, detections out. Needs numpy, Pillow and what runs the file; never torch."""
