"""The stages of dvc.yaml, one file each, and the sweep."""
