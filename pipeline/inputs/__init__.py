"""Which models there are, and how one gets to where a confined child may read it.

`discovery` lists models from a folder or a list, `fetching` brings a remote one here, `staging` places a
model with the files that it may have, `file_stats` checks whether a file has changed.

May import: fuse.dataset.storage, render.importing (never bpy), render.failures. Start reading with
`discovery.py`.
"""
