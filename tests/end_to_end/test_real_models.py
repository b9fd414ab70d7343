"""The real models of ../shared/models through the commands: bundles, rows, points that lie on the mesh.

`make test` takes one model per format, `make soak` all 129.
"""

from __future__ import annotations

import csv
import shutil

import numpy as np
import open3d as o3d
import pytest

from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest
from fuse.dataset.shard import decode, read_rows
from pipeline.ledger.compact import latest
from render.bundle import Bundle
from tests.helpers import places
from tests.helpers.commands import insideout
from tests.helpers.tiers import soak

MODELS = places.MODELS / "MODELS.csv"
SETTINGS = ["--views", "4", "--resolution", "64", "--samples", "1"]
HOPELESS = {  # points only, obsolete HDF5 Alembic, NURBS in FBX
    "assimp/OBJ/point_cloud.obj",
    "trimesh/points_bin.ply",
    "alembic/cube.abc",
    "alembic/xforms.abc",
    "ufbx/maya_nurbs_surface_sphere_7500_ascii.fbx",
}

pytestmark = pytest.mark.timeout(1500)


@pytest.fixture(scope="module", params=["one per format", soak("all")])
def sources(request: pytest.FixtureRequest) -> set[str]:
    """The models' paths below ../shared/models."""
    if not MODELS.exists():
        pytest.skip("../shared/models is not here")
    with MODELS.open() as file:
        rows = list(csv.DictReader(file))
    if request.param == "all":
        return {row["path"] for row in rows}
    return set({row["format"]: row["path"] for row in rows}.values())


@pytest.fixture(scope="module")
def dataset(sources: set[str], tmp_path_factory: pytest.TempPathFactory) -> Layout:
    base = tmp_path_factory.mktemp("real")
    models, out = base / "models" / "some.csv", base / "out"
    shutil.copytree(places.MODELS, models.parent, copy_function=shutil.copyfile)
    models.parent.chmod(0o755)
    models.write_text("\n".join(["path", *sorted(sources)]))
    for command in (["render", models, out, *SETTINGS], ["fuse", out, "--points", 1024]):
        done = insideout(*command, timeout=1200)
        assert done.returncode == 0, done.stderr[-3000:]
    return Layout(out)


def distances(bundle: Bundle, points: np.ndarray) -> np.ndarray:
    """(N,) distances of points to the bundle's mesh, by Open3D."""
    mesh = bundle.mesh()
    scene = o3d.t.geometry.RaycastingScene()
    tensor = o3d.core.Tensor.from_numpy
    scene.add_triangles(tensor(mesh.vertices), tensor(mesh.faces.astype(np.uint32)))
    return scene.compute_distance(tensor(points)).numpy()


def test_all_but_the_hopeless_give_a_bundle_and_a_row(sources: set[str], dataset: Layout) -> None:
    parts = read_manifest(dataset.clouds)
    rows = {row["source"] for part in parts for row in read_rows(dataset.clouds / part.file, ["source"])}
    assert sources - rows <= HOPELESS
    assert rows <= sources
    for row in latest(dataset.ledger("render")).values():
        assert row.ok or row.source in HOPELESS
        assert row.ok or (row.kind in {"empty", "unsupported"} and row.message)


def test_points_lie_on_the_mesh(dataset: Layout) -> None:
    worst = []
    for part in read_manifest(dataset.clouds):
        for row in read_rows(dataset.clouds / part.file, ["uid", "outside_xyz"]):
            with Bundle(dataset.bundle(row["uid"])) as bundle:
                worst.append(np.quantile(distances(bundle, decode(row, "outside_xyz")), 0.99))
    assert np.median(worst) < 1e-4
    assert np.quantile(worst, 0.9) < 5e-4


def test_every_box_is_exact_and_no_view_is_cropped(dataset: Layout) -> None:
    for uid, entry in dataset.bundles():
        with Bundle(dataset.views / entry.name) as bundle:
            vertices = bundle.mesh().vertices.astype(np.float64)
            used = vertices[np.unique(bundle.mesh().faces)]
            assert np.abs(used.max(0) + used.min(0)).max() < 1e-5, uid
            assert (used.max(0) - used.min(0)).max() == pytest.approx(2, abs=1e-5), uid
            for view in bundle.views():
                alpha = view.rgba[..., 3]
                assert max(alpha[[0, -1]].max(), alpha[:, [0, -1]].max()) == 0, uid
