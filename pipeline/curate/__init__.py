"""Curation: which models of a dataset training sees, how often, and why. No shard is rewritten unless asked.

`survey` measures every model once (`measures`, `features`) and keeps that in OUT/curation; `clusters` and
`duplicates` group the models; `rules` is the YAML that a person edits after looking at the sheets; `decide`
makes of all this one decision per model (`fuse.dataset.decisions`); `curation` is the run. `materialize`
writes shards that follow the decisions. It is a room of `pipeline` because it needs the trainer's encoders
beside the shards, and nothing imports `pipeline`.

May import: render, fuse, training.conditioning, training.checkpoints, pipeline.output, pipeline.report's
pictures. Start reading with `curation.py`.
"""
