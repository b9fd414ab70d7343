"""Memory between blocks in use goes back to the system."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

# blocks of 64 KiB come from the heap; the last one stays, so that the heap's end cannot move
CODE = """
import numpy as np
from fuse.heap import give_back

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

blocks = [np.ones(1 << 16, np.uint8) for _ in range(2000)]
blocks = blocks[-1:]
before = resident()
give_back()
print(before - resident())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library")
def test_what_was_freed_below_memory_in_use_goes_back(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(ran.stdout) > 100  # of 125 MiB
