"""Models that look alike: principal components of their features, and k-means in them.

    space = fit(features, uids, count=12)
    places = space.places(features)              # (N, D)
    clusters, distances = space.nearest(places)  # (N,) each

A space is fitted once, on at most 20,000 models, and kept (OUT/curation/clusters.npz): models that come later
are placed in it, so that the clusters which a person has looked at keep their numbers and meaning.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from render.failures import DAMAGE, UserError
from render.files import ZIP_DAMAGE

_SAMPLE = 20_000  # models that the space is fitted on
_AXES = 64  # principal components
_MOST_CLUSTERS = 100
_SEED = 0


@dataclass(frozen=True)
class Space:
    """Principal axes of the features, and the centers of the clusters in them."""

    identity: str
    """The encoder's, whose features these are."""
    mean: np.ndarray  # (F,) float32
    axes: np.ndarray  # (D, F) float32
    centers: np.ndarray  # (K, D) float32

    def places(self, features: np.ndarray) -> np.ndarray:
        """(N, F) features -> (N, D) float32; distances in it are those of the features, nearly."""
        return (features.astype(np.float32) - self.mean) @ self.axes.T

    def nearest(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, D) -> each model's cluster, (N,) int64, and its distance from the center, (N,)."""
        distances, clusters = KDTree(self.centers).query(places)
        return np.asarray(clusters), np.asarray(distances)


def sampled(uids: Sequence[str]) -> np.ndarray:
    """The indices of the models that a space is fitted on, (M,): all, or those of the lowest hashes."""
    keys = [hashlib.sha256(f"curate\0{uid}".encode()).digest() for uid in uids]
    return np.sort(np.array(sorted(range(len(uids)), key=keys.__getitem__)[:_SAMPLE], np.int64))


def fit(features: np.ndarray, identity: str, count: int = 0) -> Space:
    """The space of (N, F) features, with `count` clusters; 0: a number that grows with N's root."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    values = features.astype(np.float32)
    count = min(count or usual_count(len(values)), len(values))
    with threadpool_limits(1):  # sums in one order: the same clusters on any number of cores
        mean, axes = _principal(values)
        places = (values - mean) @ axes.T
        means: Any = KMeans(count, n_init=4, random_state=_SEED)  # pyright: ignore[reportArgumentType]
        labels = means.fit_predict(places)
    centers = means.cluster_centers_.astype(np.float32)
    sizes = np.bincount(labels, minlength=count)
    return Space(identity, mean, axes, centers[np.argsort(-sizes, kind="stable")])


def usual_count(models: int) -> int:
    """Clusters of a dataset of this size: few enough to look at each."""
    return max(1, min(_MOST_CLUSTERS, round(math.sqrt(models / 2))))


def read_space(layout: Layout) -> Space | None:
    """The space that was kept; None where there is none."""
    try:
        data = storage.read_bytes(layout.clusters)
    except FileNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            space = Space(str(found["identity"]), found["mean"], found["axes"], found["centers"])
        _require_fit(space)
        return space
    except (*ZIP_DAMAGE, *DAMAGE) as error:
        raise UserError(
            f"{layout.clusters}: no clusters ({error}). Delete it and run `insideout curate`."
        ) from None


def _require_fit(space: Space) -> None:
    """ValueError where the arrays are not finite, or their shapes do not fit."""
    shapes = (space.mean.shape[0], space.axes.shape[0])
    if space.axes.shape[1:] != shapes[:1] or space.centers.shape[1:] != shapes[1:] or not len(space.centers):
        raise ValueError("arrays of shapes that do not fit")
    if not all(np.isfinite(array).all() for array in (space.mean, space.axes, space.centers)):
        raise ValueError("numbers that are not finite")


def write_space(layout: Layout, space: Space) -> None:
    """Keep the space. The bytes depend on it alone."""
    buffer = io.BytesIO()
    np.savez(
        buffer, identity=np.array(space.identity), mean=space.mean, axes=space.axes, centers=space.centers
    )
    storage.publish_bytes(buffer.getvalue(), layout.clusters, layout.temporary)


def _principal(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, F) -> mean (F,) and the axes of the greatest variance, (D, F), float32."""
    mean = values.mean(0)
    covariance = np.cov((values - mean).T) if len(values) > 1 else np.eye(values.shape[1])
    _, vectors = np.linalg.eigh(covariance)
    count = min(_AXES, max(1, len(values) - 1), values.shape[1])
    return mean.astype(np.float32), vectors[:, ::-1][:, :count].T.astype(np.float32).copy()
