"""What happens inside a Blender process: from a model file to a view bundle.

`importing` reads the model file, `scene` freezes and normalizes it, `shading` renders the lit views,
`surfaces` finds every surface along each pixel's ray, `samples` builds demo models. `worker` runs these
steps, `bundle` stores the result.

May import: numpy, Pillow, pydantic; Open3D only in `shading.raycaster`; bpy and OpenEXR only in modules that
run in the Blender process.
`bundle`, `cameras`, `pinhole`, `srgb`, `config` and `failures` import without Blender: other rooms use them.
Start reading with `worker.py`, then `bundle/` for what comes out.
"""
