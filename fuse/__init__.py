"""From view bundles to colored point clouds, and the dataset folder that holds both.

A bundle's pixels are back-projected (`projection`), merged (`fusion`), labeled (`openness`, `inside`),
subsampled (`sampling`) and written as one row of a Parquet shard. `dataset/` is the contract of the dataset
folder, `solid/` finds the volume inside a mesh, `preview/` draws pictures, `export/` writes for other tools.

May import: `render`. Start reading with `worker.py`, which is the whole stage for one model.
"""
