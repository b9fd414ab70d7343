"""The lit views, and the inside behind them.

`color` and `lights` render the lit views through `camera`; `denoiser` cleans them, `coverage` finds their
alpha by the rays of `raycaster`. `materials` gives every face one. `interior` marks where surfaces lie that
no view sees. `coverage`, `interior` and `raycaster` import without Blender.

May import: bpy, OpenEXR, Open3D, numpy, Pillow and `render`'s own modules. Not: `render.importing`,
`render.scene`, `render.surfaces`.
Start reading with `color.py`; docs/layers.md explains the method.
"""
