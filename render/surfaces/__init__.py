"""Depth, base color and normal of every surface along each pixel's ray.

`basecolor` finds what a material's unlit color and alpha are: constants, or sockets of its shader tree.
`cast` follows the rays through the mesh by Embree, and `paint` evaluates those sockets where they hit, by
`graph` for the nodes that most materials use, `texture` for images, and `corners` for what triangles carry.
`record` has Cycles do both, for any material. `finding` decides; `rays` is what comes of either.

May import: bpy, OpenEXR, numpy, Pillow, `render.shading`'s camera and raycaster, and the modules of `render`
itself. Not: `render.importing`, `render.scene`.
Start reading with `finding.py`, then `cast.py`; docs/layers.md explains both ways.
"""
