"""Points inside the solid volume of any mesh, watertight or not, and measures of that volume.

`closed_shells` sorts the triangles (by their `edges`, each part measured as a `surface`), `ray_lattice` and
`flood` find what they enclose, `methods` chooses between them, `points` puts points there.

May import: `render.bundle`, `render.shading.raycaster`, `fuse.sampling`. Start reading with `points.py`.
"""
