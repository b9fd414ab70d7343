"""What a view shows: lit color, and depth, albedo and normal of every surface along each pixel's ray.

`color` and `lights` render the lit views through `camera`; `coverage` finds their alpha by the rays of
`raycaster`.
`materials` and `basecolor` find each material's unlit color, `geometry` renders all surfaces of a view at
once, `interior` marks those behind the first that no view sees. `coverage` and `raycaster` import without
Blender.

May import: bpy, OpenEXR, Open3D, numpy, Pillow and `render`'s own modules. Not: `render.importing`,
`render.scene`.
Start reading with `geometry.py`; docs/layers.md explains the method.
"""
