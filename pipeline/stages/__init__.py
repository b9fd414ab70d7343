"""Each stage as a run over a whole dataset: what there is to do, and what comes before and after the engine.

`render`: models to view bundles. `fuse`: view bundles to cloud shards. `train`: shards to a checkpoint, on
several processes.

May import: everything in pipeline but commands, and the stage's own room. Start reading with `render.py`.
"""
