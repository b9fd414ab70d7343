"""Writes to the dataset folder that belong to no single stage.

`commit` makes a file appear whole or not at all and keeps two runs apart, `lock` does so in an object store,
`record` keeps dataset.json and the dataset card.

May import: fuse.dataset, pipeline.ledger, pipeline.config. Start reading with `commit.py`.
"""
