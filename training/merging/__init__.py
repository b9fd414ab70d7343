"""Several clouds of one object made one better cloud: rules without learning, and what a merger learns from.

`rules` are pure functions; `files` reads clouds from anywhere and merges them.

May import: numpy, `fuse` and the rest of `training`. Start reading with `rules.py`.
"""
