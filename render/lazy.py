"""Modules that a library imports at once and that are needed later, or never.

    with imported_later("open3d.visualization.draw_plotly"):
        import open3d

The functions that it takes from there import them when they are called.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def imported_later(name: str) -> Iterator[None]:
    """Within, whoever imports functions from the module gets some that import it when they are called."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = _Later(name)
    try:
        yield
    finally:
        del sys.modules[name]


class _Later(ModuleType):
    """Stands for a module of functions."""

    def __getattr__(self, function: str) -> Any:
        if function.startswith("__"):
            raise AttributeError(function)

        def call(*args: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(self.__name__), function)(*args, **named)

        return call
