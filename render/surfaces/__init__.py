"""Depth, base color and normal of every surface along each pixel's ray.

`cast` follows the rays through the mesh by Embree, and `paint` evaluates base colors where they hit, by
`graph` for the nodes that most materials use, `texture` for images, and `corners` for what triangles carry.
`record` has Cycles do both, for any material. `finding` decides; `rays` is what comes of either.

May import: bpy, OpenEXR, numpy, Pillow, `render.shading`'s basecolor, camera, raycaster and shots, and the
modules of `render` itself. Not: `render.importing`, `render.scene`.
Start reading with `finding.py`, then `cast.py`; docs/layers.md explains both ways.
"""
