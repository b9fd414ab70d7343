"""Shards to batches: which rows, in which order, and which of their points, as the network's channels.

May import: numpy, pyarrow, torch, `fuse.dataset`, `fuse.sampling`, `training.conditioning`,
`training.objectives.condition`.
Start reading with `loader.py`.
"""
