"""From whatever an importer left in Blender to plain meshes in the normalized frame.

`freeze` evaluates modifiers, rigs and instances and normalizes the result, `meshes` cleans each evaluated
mesh, `textures` finds image files whose stored path is stale.

May import: bpy, numpy, Pillow, `render.bundle`, `render.elements`, `render.failures`, and the file search of
`render.importing`. Not: its importers, `render.shading`.
Start reading with `freeze.py`.
"""
