"""The report: OUT/report/index.html, a static page that shows a dataset and opens from disk.

`site` writes it shard by shard, `model` a model's page, `columns` what the gallery searches and sorts,
`overview` and `runs` what the ledgers and the training runs say, `curation` what was decided on the models.
`assets/` is the page itself: classic scripts, since a page opened from disk may load neither modules nor data
by fetch. All data lies in scripts too (`scripts`), loaded when they are needed.

May import: render, fuse, pipeline.ledger, pipeline.output, pipeline.curate.measured,
training.output.logs. Start reading with `site.py`.
"""
