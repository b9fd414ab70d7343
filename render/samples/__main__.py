"""`python -m render.samples DIR` writes the sample models to DIR."""

from __future__ import annotations

import sys
from pathlib import Path

from render.samples import make_samples

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m render.samples DIR")
    print(f"{len(make_samples(Path(sys.argv[1])))} models in {sys.argv[1]}")
