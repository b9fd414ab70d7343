"""The view bundle: one uncompressed zip per model, a NeRF dataset when unzipped.

    transforms.json        NeRF convention, OpenGL camera-to-world, one frame per view
    rgba/000.png           lit color, 8-bit sRGB, straight alpha
    albedo/000.png         unlit base color, 8-bit sRGB
    depth/000.png          16-bit planar z; 0 is no surface, 1..65535 spans depth_near..depth_far
    normal/000.png         8-bit world normals, (n + 1) / 2 * 255, facing the camera; 0,0,0 is no surface
    hidden/000_1_depth.png the surface behind the first, with _albedo and _normal; 000_2_... is the next
    layers/000.png         8-bit number of surfaces along each ray; 255 means 255 or more
    interior/000.png       255 where a surface that no view sees lies behind the first
    mesh.npz               the evaluated triangles in the normalized frame
    meta.json              where the model came from, what it contains, how it was rendered

`views` is what a bundle holds in memory, `writing` and `reading` are the file, `codes` and `png` its images,
`members` what may be in it.

May import: numpy, Pillow, pydantic, zlib-ng, `render.failures`, `render.files`; never bpy.
Start reading with `views.py`.
"""

from render.bundle.reading import REMEDY, Bundle, BundleError
from render.bundle.views import Camera, Layer, Mesh, Surface, View
from render.bundle.writing import write_bundle

__all__ = ["REMEDY", "Bundle", "BundleError", "Camera", "Layer", "Mesh", "Surface", "View", "write_bundle"]
