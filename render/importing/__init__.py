"""A model file becomes objects in Blender's scene: what it is, and who reads it.

`formats` judges a file by its bytes, `blender` chooses the importer, and each format that Blender lacks or
misreads has a module of its own: so this folder may be larger than the others. The other files that a model
names are the business of `render.references`.

May import: numpy, trimesh and other readers, `render.references`, `render.failures`, `render.srgb`; bpy only
to build a scene. Start reading with `blender`, then `convert`.
"""
