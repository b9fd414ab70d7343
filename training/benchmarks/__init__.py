"""Speed of the loader and of a training step; each module is a command: `python -m training.benchmarks.NAME`.

May import: `training`, `fuse.dataset` and torch. Start reading with `reading.py`.
"""
