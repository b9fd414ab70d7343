"""What our use of Open3D does not need is not imported with it, and is there for who does need it."""

from __future__ import annotations

import subprocess
import sys

from tests.helpers.places import ROOT

CODE = """
import sys
import render.shading.raycaster
assert "open3d" in sys.modules and not {"dash", "plotly", "IPython"} & set(sys.modules)
import open3d
cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector([[1.0, 2.0, 3.0]]))
cloud.paint_uniform_color([1, 0, 0])
print(open3d.visualization.get_plotly_fig([cloud]).data[0].y[0])
"""


def test_open3d_comes_without_its_viewer_until_that_is_asked_for():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "2.0\n", done.stderr
