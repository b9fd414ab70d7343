"""A contact sheet per cluster: what a person looks at before they put clusters into buckets."""

from __future__ import annotations

import io
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fuse.dataset import storage
from fuse.dataset.decisions import Decision
from fuse.dataset.layout import Layout
from fuse.preview.thumbs import thumb_sheet
from pipeline.curate.measured import batches

_MOST = 60  # models on a sheet
_ACROSS = 10
_WORDS = 4
_SHEET = re.compile(r"\d{3,}\.jpg")  # `Layout.cluster_sheet`
_LEFT_OUT = "x "  # before the name of a model that is not used


@dataclass(frozen=True)
class Cluster:
    """A cluster for people."""

    number: int
    size: int
    words: str
    """Those of its captions and categories that tell it from others."""
    shown: tuple[str, ...]
    """Uids on its sheet: from its center to its border."""

    @property
    def title(self) -> str:
        """The line above the cluster's pictures."""
        return f"{self.size} models: {self.words}"


def describe(uids: list[str], texts: list[str], clusters: np.ndarray, distances: np.ndarray) -> list[Cluster]:
    """Every cluster that has models. `clusters` and `distances` from the center are (N,)."""
    found, everywhere = [], word_counts(texts)
    for number in np.unique(clusters).tolist():
        members = np.flatnonzero(clusters == number)
        members = members[np.argsort(distances[members], kind="stable")]
        steps = np.linspace(0, len(members) - 1, min(_MOST, len(members))).round().astype(int)
        shown = tuple(uids[index] for index in members[steps].tolist())
        found.append(Cluster(number, len(members), telling((texts[i] for i in members), everywhere), shown))
    return found


def telling(texts: Iterable[str], everywhere: Mapping[str, int]) -> str:
    """The words that many of the texts have and few others; `everywhere` counts them in all texts."""
    counts = word_counts(texts)
    best = sorted(counts, key=lambda word: (-(counts[word] ** 2) / everywhere[word], word))
    return ", ".join(best[:_WORDS])


def word_counts(texts: Iterable[str]) -> Counter[str]:
    """The number of texts that have each word."""
    words = (set(re.findall(r"[^\W\d_]{3,}", text.lower())) for text in texts)
    return Counter(itertools.chain.from_iterable(words))


def write_sheets(layout: Layout, clusters: Sequence[Cluster], decided: dict[str, Decision]) -> None:
    """Write a JPEG per cluster, and remove those of clusters that are gone."""
    wanted = {uid for cluster in clusters for uid in cluster.shown}
    pictures = {
        row["uid"]: row["picture"]
        for table in batches(layout, ["uid", "picture"])
        for row in table.to_pylist()
        if row["uid"] in wanted
    }
    for cluster in clusters:
        shown = [(pictures[uid], _label(decided[uid])) for uid in cluster.shown]
        title = f"cluster {cluster.number}, {cluster.title}"
        buffer = io.BytesIO()
        thumb_sheet(shown, _ACROSS, title).save(buffer, "JPEG", quality=85)
        storage.publish_bytes(buffer.getvalue(), layout.cluster_sheet(cluster.number), layout.temporary)
    folder = layout.cluster_sheet(0).parent
    named = {layout.cluster_sheet(cluster.number).name for cluster in clusters}
    gone = {entry.name for entry in storage.listing(folder)} - named
    storage.remove([folder / name for name in gone if _SHEET.fullmatch(name)])


def _label(one: Decision) -> str:
    return one.uid if one.kept else f"{_LEFT_OUT}{one.rule} {one.uid}"
