"""The node tree of a glTF document: places in world, the tree moved to the origin in float64, and matrices as
Blender can hold them."""

from __future__ import annotations

from typing import Any

import numpy as np

Json = dict[str, Any]
_DEPTH = 1000
_RIGHT_ANGLE = 1e-5  # cosine
_FLAT = 1e-6


def move(document: Json, offset: np.ndarray) -> bool:
    """Move all scenes by -`offset` (3,); False, and nothing done, where animations or the tree forbid it.

    Nodes with a mesh, camera or light and joints move exactly. What only groups others is put where it
    moves to, too, or at the origin if that is far away: its children's local matrices take up the difference.
    """
    nodes = document.get("nodes", [])
    parents = {child: i for i, node in enumerate(nodes) for child in node.get("children", [])}
    worlds = _worlds(nodes, parents)
    if worlds is None:
        return False
    joints = {joint for skin in document.get("skins", []) for joint in skin.get("joints", [])}
    near = np.abs(offset).max() / 16  # the model, as far away as it is, is smaller
    after = []
    for i, (node, world) in enumerate(zip(nodes, worlds, strict=True)):
        new = world.copy()
        new[:3, 3] -= offset
        if not (node.keys() & {"mesh", "camera", "skin", "extensions"} or i in joints):
            new[:3, 3] = 0 if np.abs(new[:3, 3]).max() > near else new[:3, 3]
        after.append(new)
    locals_ = [_local(after, parents, i) for i in range(len(nodes))]
    animated = {
        channel.get("target", {}).get("node")
        for animation in document.get("animations", [])
        for channel in animation.get("channels", [])
    }
    changed = [
        i for i, node in enumerate(nodes) if not np.allclose(local(node), locals_[i], rtol=0, atol=1e-9)
    ]
    if animated & set(changed) or not all(np.isfinite(matrix).all() for matrix in locals_):
        return False
    for i in changed:
        _set_translation(nodes[i], locals_[i])
    return bool(changed)


def split_matrices(document: Json) -> bool:
    """Put each node below a new one if its matrix is not `decomposable`; whether any was.

    By singular values such a matrix is a turn, then a scaling, then another turn. The latter two go to the
    new parent, as rotation and scale.
    """
    nodes, above = document.get("nodes", []), {}
    for i, node in enumerate(list(nodes)):
        if "matrix" in node and not decomposable(matrix := local(node)):
            above[i] = len(nodes)
            parent, turn = _split(matrix)
            nodes.append({"children": [i], **parent})
            node["matrix"] = turn.T.ravel().tolist()
    for holder in (*nodes[: len(nodes) - len(above)], *document.get("scenes", [])):
        for key in holder.keys() & {"children", "nodes"}:
            holder[key] = [above.get(child, child) for child in holder[key]]
    return bool(above)


def show_all(document: Json) -> bool:
    """Put all nodes of a document without scenes, which would show nothing, into one; whether it had none."""
    nodes = document.get("nodes")
    if document.get("scenes") or not nodes:
        return False
    below = {child for node in nodes for child in node.get("children", ())}
    document |= {"scene": 0, "scenes": [{"nodes": [i for i in range(len(nodes)) if i not in below]}]}
    return True


def hide(document: Json) -> bool:
    """Take the meshes off nodes that are invisible (KHR_node_visibility), as is all below; whether any was.

    Where nothing would be left to see, all stays.
    """
    nodes = document.get("nodes", [])
    waiting = [i for i, node in enumerate(nodes) if not _is_visible(node)]
    hidden: set[int] = set()
    while waiting:
        number = waiting.pop()
        if number not in hidden:
            hidden.add(number)
            waiting += nodes[number].get("children", [])
    meshes = {i for i, node in enumerate(nodes) if "mesh" in node}
    if not hidden & meshes or meshes <= hidden:
        return False
    for number in hidden & meshes:
        nodes[number].pop("mesh")
        nodes[number].pop("skin", None)
        nodes[number].get("extensions", {}).pop("EXT_mesh_gpu_instancing", None)
    return True


def _is_visible(node: Json) -> bool:
    return node.get("extensions", {}).get("KHR_node_visibility", {}).get("visible", True) is not False


def decomposable(matrix: np.ndarray) -> bool:
    """Whether Blender finds translation, rotation and scale that make a matrix (4, 4).

    It normalizes the columns: they must be at right angles, to 1e-5, and longer than zero.
    """
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    if not sizes.min() > _FLAT * sizes.max():
        return False
    axes = matrix[:3, :3] / sizes
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() < _RIGHT_ANGLE)


def _split(matrix: np.ndarray) -> tuple[Json, np.ndarray]:
    """The translation, rotation and scale of a node, and the rotation (4, 4) below it, that make a matrix."""
    u, sizes, vt = np.linalg.svd(matrix[:3, :3])
    u_mirror, v_mirror = (np.array([1, 1, np.sign(np.linalg.det(turn))]) for turn in (u, vt))
    turn = np.eye(4)
    turn[:3, :3] = v_mirror[:, None] * vt
    scale = (sizes * u_mirror * v_mirror).tolist()
    return {
        "translation": matrix[:3, 3].tolist(),
        "rotation": _quaternion(u * u_mirror),
        "scale": scale,
    }, turn


def _quaternion(turn: np.ndarray) -> list[float]:
    """x, y, z, w of a rotation (3, 3): the eigenvector of Bar-Itzhack's matrix for its largest eigenvalue."""
    (a, b, c), (d, e, f), (g, h, i) = turn.tolist()
    upper = [[a - e - i, b + d, c + g, h - f], [0, e - a - i, f + h, c - g], [0, 0, i - a - e, d - b]]
    return np.linalg.eigh(np.array([*upper, [0, 0, 0, a + e + i]]), "U")[1][:, -1].tolist()


def local(node: Json) -> np.ndarray:
    """(4, 4) float64: a node's own matrix."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


def _worlds(nodes: list[Json], parents: dict[int, int]) -> list[np.ndarray] | None:
    """(4, 4) of each node, or None for a tree that is no tree."""
    known: dict[int, np.ndarray] = {}
    for i in range(len(nodes)):
        chain = [i]
        while chain[-1] in parents and parents[chain[-1]] not in known:
            chain.append(parents[chain[-1]])
            if len(chain) > _DEPTH:
                return None
        for node in reversed(chain):
            above = known[parents[node]] if node in parents else np.eye(4)
            known[node] = above @ local(nodes[node])
    return [known[i] for i in range(len(nodes))]


def _local(worlds: list[np.ndarray], parents: dict[int, int], i: int) -> np.ndarray:
    """(4, 4): what takes a node to its parent; not finite where the parent is flat."""
    if i not in parents:
        return worlds[i]
    try:
        return np.linalg.solve(worlds[parents[i]], worlds[i])
    except np.linalg.LinAlgError:
        return np.full((4, 4), np.nan)


def _set_translation(node: Json, matrix: np.ndarray) -> None:
    """Only translations change: rotation and scale stay as they are written."""
    if "matrix" in node:
        node["matrix"][12:15] = [float(x) for x in matrix[:3, 3]]
    else:
        node["translation"] = [float(x) for x in matrix[:3, 3]]
