"""The lit views, materials, and the inside behind the views.

`color` makes the lit views of `shots`, rendered under `lights` through `camera`, from as many samples as
`sample_count` says; `denoiser` cleans them, `coverage` finds their alpha by the rays of `raycaster`.
`materials` gives every face one, `basecolor` finds what its unlit color and alpha are: constants, or sockets
of its shader tree. `interior` marks where surfaces lie that no view sees. `coverage`, `interior` and
`raycaster` import without Blender.

May import: bpy, OpenEXR, Open3D, numpy, Pillow and `render`'s own modules. Not: `render.importing`,
`render.scene`, `render.surfaces`.
Start reading with `color.py`; docs/layers.md explains the method.
"""
