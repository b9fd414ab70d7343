"""Generated clouds for people and other tools: files in common formats, and pictures.

May import: numpy, Pillow, trimesh, `fuse` and the rest of `training` below it. Start reading with
`cloud_files.py`.
"""
