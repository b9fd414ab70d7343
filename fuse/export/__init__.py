"""One model of a dataset as files that other tools open: PLY, npz, pictures, scenes for NeRF and splats.

May import: `fuse.dataset`, `fuse.preview`, `render.bundle`. Start reading with `model.py`.
"""
