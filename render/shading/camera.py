"""Blender's camera, and the window around the model: nothing beside it is traced or stored."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Matrix

from render.bundle import Camera
from render.cameras import box_around, image_box


@dataclass(frozen=True)
class Window:
    """The pixels that are rendered, of a square image; rows count from the top."""

    rows: slice
    columns: slice
    size: int  # of the whole image

    def paste(self, pixels: np.ndarray) -> np.ndarray:
        """(h, w, ...) pixels of the window -> (H, W, ...) of the whole image, 0 elsewhere; any dtype."""
        image = np.zeros((self.size, self.size, *pixels.shape[2:]), pixels.dtype)
        image[self.rows, self.columns] = pixels
        return image

    def pixel(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """(N,) int64, row-major places in the whole image of rows and columns (N,) of the window."""
        return (row + self.rows.start) * self.size + column + self.columns.start


class ViewCamera:
    """The scene's only camera; its rendered files hold the pixels of `window`."""

    def __init__(self, resolution: int):
        scene = bpy.context.scene
        self._object = bpy.data.objects.new("InsideOut camera", bpy.data.cameras.new("InsideOut camera"))
        scene.collection.objects.link(self._object)
        scene.camera = self._object
        render = scene.render
        render.resolution_x = render.resolution_y = resolution
        render.resolution_percentage = 100
        render.pixel_aspect_x = render.pixel_aspect_y = 1
        render.use_border = render.use_crop_to_border = True
        self._size = resolution
        self.window = Window(slice(0, resolution), slice(0, resolution), resolution)

    def move(self, camera: Camera, outline: np.ndarray) -> None:
        """Move to a view. `outline`, points (N, 3) whose hull holds the model, sets clip range and window."""
        distance = float(np.linalg.norm(camera.camera_to_world[:3, 3]))
        radius = float(np.linalg.norm(outline, axis=1).max())
        data = self._object.data
        data.sensor_fit = "HORIZONTAL"
        data.angle = camera.fov
        data.clip_start = max(1e-3, (distance - radius) * 0.5)
        data.clip_end = (distance + radius) * 2
        self._object.matrix_world = Matrix(camera.camera_to_world.tolist())
        self._show(*image_box(camera, outline, self._size))

    def crop(self, pixels: np.ndarray) -> None:
        """Shrink the window to the box around the pixels (H, W) bool, and one more on each side."""
        self._show(*box_around(pixels, margin=1))

    def _show(self, rows: slice, columns: slice) -> None:
        self.window = Window(rows, columns, self._size)
        render = bpy.context.scene.render
        render.border_min_x, render.border_max_x = self._border(columns.start), self._border(columns.stop)
        render.border_min_y = self._border(self._size - rows.stop)
        render.border_max_y = self._border(self._size - rows.start)

    def _border(self, pixel: int) -> float:
        """Blender rounds down; a quarter of a pixel keeps float32 from falling below a whole one."""
        return min((pixel + 0.25) / self._size, 1.0)
