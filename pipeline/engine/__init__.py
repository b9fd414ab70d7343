"""The engine: runs any stage over its tasks through Ray, one child process and one model per worker.

`runner` does a run and `resume` decides what is left to do; `dispatch` keeps a window of `tasks` in flight;
`task` is some models in a Ray worker, whose `supervisor` owns the child. `session` starts or joins Ray,
`progress` prints. Nothing here knows what a stage does.

May import: pipeline.sandbox, pipeline.inputs, pipeline.ledger, pipeline.output, pipeline.config,
fuse.dataset, render.job, render.failures, render.references. Start reading with `runner.py`.
"""
