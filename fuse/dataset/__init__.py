"""The dataset folder's contract: paths, storage, shards and manifest, and the tools that read them.

Whatever a stage writes for another stage to read goes through these modules.

May import: `render.bundle`. Start reading with `layout.py`, then `shard/`.
"""
