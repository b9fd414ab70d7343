"""The networks: Point-E's transformers and published weights, a two-stream transformer, a merger of
clouds, Point-E's SDF model.

May import: torch, `render.failures`, `training.conditioning.cameras` and `training.objectives`.
Start reading with `transformer.py`.
"""
