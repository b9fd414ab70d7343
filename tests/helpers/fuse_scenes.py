"""RGBAD views of known triangles by Open3D's ray caster: what a perfect renderer would put in a bundle.

Depth, albedo and normal are those of the ray through the pixel's center; the lit color is a mean over
4 x 4 rays of the pixel, as an anti-aliasing renderer's is. Nothing here passes through Blender or `fuse`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import open3d as o3d

from render.bundle import Camera, Mesh, View, write_bundle

FOV = np.radians(39.5978)


@dataclass
class Scene:
    """Triangles with a color each; `alpha` is the color pass's opacity of everything."""

    vertices: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    faces: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int32))
    colors: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.uint8))
    alpha: float = 1.0

    def add(self, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> Scene:
        """A scene with these triangles too; `colors` is (3,) or (F, 3)."""
        colors = np.broadcast_to(np.asarray(colors, np.uint8), (len(faces), 3))
        return Scene(
            np.concatenate([self.vertices, np.asarray(vertices, np.float32)]),
            np.concatenate([self.faces, np.asarray(faces, np.int32) + len(self.vertices)]),
            np.concatenate([self.colors, colors]),
            self.alpha,
        )

    def box(self, low: list[float], high: list[float], colors: object) -> Scene:
        """Add an axis-aligned box; `colors` (3,) or (6, 3) in the order -x +x -y +y -z +z."""
        corners = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        faces = [triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))]
        colors = np.broadcast_to(np.asarray(colors, np.uint8), (6, 3)).repeat(2, 0)
        return self.add(np.array(low) + corners * (np.array(high) - low), np.array(faces), colors)

    def embree(self) -> o3d.t.geometry.RaycastingScene:
        scene = o3d.t.geometry.RaycastingScene(nthreads=1)
        scene.add_triangles(_tensor(self.vertices), _tensor(self.faces.astype(np.uint32)))
        return scene

    def distance(self, points: np.ndarray) -> np.ndarray:
        """(N,) distance of points to the nearest triangle."""
        return self.embree().compute_distance(_tensor(points.astype(np.float32))).numpy()

    def mesh(self) -> Mesh:
        return Mesh(self.vertices, self.faces)


def cameras(count: int, radius: float = 3**0.5) -> list[Camera]:
    """Evenly spread cameras from which a ball of `radius` fills the view."""
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, np.pi * (1 + 5**0.5) * i
    flat = np.sqrt(1 - z * z)
    directions = np.stack([flat * np.cos(turn), flat * np.sin(turn), z], 1)
    return [look_from(direction * (1.02 * radius / np.sin(FOV / 2))) for direction in directions]


def look_from(origin: np.ndarray) -> Camera:
    """A camera at `origin` that looks at the world's origin."""
    back = origin / np.linalg.norm(origin)
    right = np.cross([0.0, 0.0, 1.0] if abs(back[2]) < 0.99 else [0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], 1)
    pose[:3, 3] = origin
    return Camera(pose, float(FOV))


def render(scene: Scene, camera: Camera, size: int = 128) -> View:
    """One view of `size` x `size` pixels."""
    embree = scene.embree()
    depth, face, normal = _cast(embree, camera, size, 0.5, 0.5)
    hit = depth > 0
    color, cover = np.zeros((size, size, 3)), np.zeros((size, size, 1))
    for u in (np.arange(4) + 0.5) / 4:
        for v in (np.arange(4) + 0.5) / 4:
            z, index, _ = _cast(embree, camera, size, u, v)
            color += np.where(z[..., None] > 0, scene.colors[index], 0)
            cover += z[..., None] > 0
    straight = np.rint(color / cover.clip(1))
    rgba = np.concatenate([straight, np.rint(cover / 16 * 255 * scene.alpha)], -1).astype(np.uint8)
    albedo = np.where(hit[..., None], scene.colors[face], 0).astype(np.uint8)
    return View(camera, rgba, depth, albedo, normal)


def bundle(path: Path, scene: Scene, views: int = 20, size: int = 128, uid: str = "thing") -> list[View]:
    """Render a scene and write its bundle; return the views as they were before encoding."""
    images = [render(scene, camera, size) for camera in cameras(views)]
    meta = {
        "uid": uid,
        "source": f"{uid}.glb",
        "source_sha256": "0" * 64,
        "format": "glb",
        "importer": "test",
    }
    meta |= {"caption": None, "category": "test", "license": None, "center": [1.0, 2.0, 3.0], "scale": 0.5}
    write_bundle(path, images, scene.mesh(), meta)
    return images


def sphere(subdivisions: int = 160, color: object = (200, 100, 50)) -> Scene:
    """A finely tessellated unit sphere, its chord error below 1e-4."""
    ball = o3d.geometry.TriangleMesh.create_sphere(1.0, subdivisions)
    return Scene().add(np.asarray(ball.vertices), np.asarray(ball.triangles), np.asarray(color))


def wire_grid(wires: int = 7, width: float = 0.006) -> Scene:
    """Wires thinner than a pixel in the plane z = 0, nothing behind them."""
    scene = Scene()
    for at in np.linspace(-1 + width, 1 - width, wires):
        scene = scene.box([-1, at - width / 2, -width / 2], [1, at + width / 2, width / 2], (250, 10, 10))
        scene = scene.box([at - width / 2, -1, -width / 2], [at + width / 2, 1, width / 2], (250, 10, 10))
    return scene


def _cast(
    embree: o3d.t.geometry.RaycastingScene, camera: Camera, size: int, u: float, v: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Planar depth (0 for a miss), face index (0 for a miss) and camera-facing normal of each pixel's ray."""
    half = np.tan(camera.fov / 2)
    column, row = np.meshgrid(np.arange(size) + u, np.arange(size) + v)
    local = np.stack([(2 * column / size - 1) * half, (1 - 2 * row / size) * half, -np.ones_like(row)], -1)
    rays = local @ camera.camera_to_world[:3, :3].T
    origin = np.broadcast_to(camera.camera_to_world[:3, 3], rays.shape)
    answer = embree.cast_rays(_tensor(np.concatenate([origin, rays], -1).astype(np.float32)))
    depth = answer["t_hit"].numpy()  # rays have z = -1: their parameter is planar depth
    hit = np.isfinite(depth)
    normal = answer["primitive_normals"].numpy()
    normal *= -np.sign((normal * rays).sum(-1, keepdims=True))
    face = np.where(hit, answer["primitive_ids"].numpy().astype(np.int64), 0)
    return (
        np.where(hit, depth, 0).astype(np.float32),
        face,
        np.where(hit[..., None], normal, 0).astype(np.float32),
    )


def _tensor(array: np.ndarray) -> o3d.core.Tensor:
    return o3d.core.Tensor.from_numpy(np.ascontiguousarray(array))
