"""The command line, called as a person calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def insideout(
    *arguments: object, cwd: Path | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run `insideout ARGUMENTS` in `cwd` (the repository's root), for `timeout` seconds at most."""
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        command,
        cwd=cwd or root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
