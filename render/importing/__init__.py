"""A model file becomes objects in Blender's scene: what it is, which files it names, and who reads it.

`formats` judges a file by its bytes; `link_scan`, `lookup`, `references` and `redaction` find, resolve and
rewrite the names of other files, before Blender is involved; `blender` chooses the importer, and each format
that Blender lacks or misreads has a module of its own: so this folder may be larger than the others.

May import: numpy, trimesh and other readers, `render.failures`, `render.srgb`; bpy only to build a scene.
Start reading with `blender`, then `references`.
"""
