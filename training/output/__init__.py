"""What a run and its model write for people and other tools: logs, boards, clouds, pictures, model folders.

May import: numpy, Pillow, trimesh, `fuse` and the rest of `training` below it. Start reading with
`cloud_files.py`.
"""
