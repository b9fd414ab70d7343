"""Which models there are, and how one gets to where a confined child may read it.

`discovery` lists models from a folder or a list; `admission` says which file and tree a model is, `fetching`
brings a remote one here, and `staging` has it placed with the files that it may have: `placing` puts them
into the `workspace`, and a `reader`, the confined child, reads them. `file_stats` checks whether a file has
changed.

May import: fuse.dataset.storage, render.importing and render.references (never bpy), render.failures,
pipeline.output.licenses. Start reading with `discovery.py`, then `staging.py`.
"""
