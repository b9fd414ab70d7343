"""What happened to every model: a row per model, stage and attempt, in append-only files.

`rows` defines a row and a line, `writer` appends them, `compact` folds finished runs and reads everything,
`known` holds the last row of millions of models. `failed` and `status` answer people's questions.

May import: fuse.dataset, render.failures, pipeline.errors. Start reading with `rows.py`.
"""
