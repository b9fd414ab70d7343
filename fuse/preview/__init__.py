"""Pictures for people, drawn on the CPU: clouds, clouds cut open, layers of a view, contact sheets.

May import: `render.bundle`, `fuse.sampling`, `fuse.dataset`. Start reading with `picture.py`.
"""
