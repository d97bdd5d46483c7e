"""Programs that run an exported file alone, one of which lies beside it as example.py; Reprolens itself runs none."""
