"""Detections as files that other programs read, a format a file.

Each format's module has a context manager that takes the folder to write into and the class names in index order, and
gives what is called with every picture as it comes; whole documents are there only when all pictures are.
"""
