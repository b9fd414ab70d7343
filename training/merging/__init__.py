"""Several clouds of one object made one better cloud: rules without learning, and what a merger learns from.

`rules` are pure functions; `files` reads clouds from anywhere and merges them, by a rule or by `merger`;
`draw` makes the dataset that mergers learn from; `compose` is the whole way from pictures to one cloud.

May import: numpy, scipy, torch, `fuse` and the rest of `training`. Start reading with `rules.py`.
"""
