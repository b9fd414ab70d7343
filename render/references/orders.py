"""What a confined child does with a model's bytes before any importer does, as its supervisor asks for it.

    obey({"do": "scan", "path": "/scratch/input/chair.obj"})        # Scanned: the names in the file

The supervisor places files and looks names up; it parses nothing that a stranger wrote. Orders and answers
cross to the child and back as JSON (`pipeline.sandbox.protocol`), each validated by the side that reads it:
types, sizes and counts. File names may be any bytes, and are spelled as text (`render.references.spelling`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from render.failures import FailureClass, ModelFailure
from render.importing.formats import SUPPORTED
from render.references import archives, plain_text
from render.references.link_scan import MOST_LINKS, TEXTS, Link, Scan, scan
from render.references.redaction import LARGEST, blinded, redirected
from render.references.spelling import spelled, unspelled

_NamedFile = Annotated[str, StringConstraints(max_length=4096)]
_Offset = Annotated[int, Field(ge=0, lt=1 << 40)]
_Span = tuple[_Offset, _Offset]
_Edit = tuple[_Span, tuple[tuple[str, str], ...]]
_WireLink = tuple[
    Annotated[tuple[_NamedFile, ...], Field(min_length=1, max_length=64)],
    Annotated[tuple[_Span, ...], Field(max_length=MOST_LINKS)],
    Annotated[tuple[_NamedFile, ...], Field(max_length=16)],
    int | None,
]
"""The fields of a `render.references.link_scan.Link`."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Result(BaseModel):
    """What comes from a child, which a model may have taken over."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ScanOrder(_Frozen):
    """Say what a file is, and what names stand in it."""

    do: Literal["scan"] = "scan"
    path: Path


class Scanned(_Result):
    """What a file is, and the names in it: a `Scan` as it travels between the processes."""

    kind: Annotated[str, StringConstraints(max_length=16)]
    links: Annotated[tuple[_WireLink, ...], Field(max_length=MOST_LINKS)]
    coded: bool
    """Whether its text has to be decoded for its importer."""

    @classmethod
    def of(cls, found: Scan, coded: bool) -> Self:
        """A scan, ready to be sent; names that are not UTF-8 are spelled."""
        links = tuple(
            (_spelled(link.readings), link.spans, _spelled(link.words), link.group) for link in found.links
        )
        return cls(kind=found.kind, links=links, coded=coded)

    def scan(self) -> Scan:
        """As the lookup takes it."""
        links = (
            Link(_unspelled(readings), spans, _unspelled(words), group)
            for readings, spans, words, group in self.links
        )
        return Scan(self.kind, tuple(links), self.coded)


class UnpackOrder(_Frozen):
    """Unpack an archive that holds models into a folder."""

    do: Literal["unpack"] = "unpack"
    archive: Path
    member: str
    """Which of its models is meant; "" where the archive alone is named."""
    folder: Path


class Unpacked(_Result):
    """What an archive held."""

    model: _NamedFile | None
    """Where the model lies in the folder; None, and nothing is unpacked, where the archive holds none."""


class RewriteOrder(_Frozen):
    """Write a file as its importer should read it: decoded, redacted, its names leading to what is placed."""

    do: Literal["rewrite"] = "rewrite"
    path: Path
    target: Path
    kind: str
    foreign: tuple[str, ...]
    """Names that lead out of the model's tree."""
    edits: tuple[_Edit, ...]

    @classmethod
    def of(cls, path: Path, target: Path, kind: str, foreign: list[str], edits: Edits) -> Self:
        """The order for these edits; names that are not UTF-8 are spelled."""
        spelled_edits = tuple(
            (span, tuple((spelled(written), name) for written, name in names))
            for span, names in edits.items()
        )
        return cls(path=path, target=target, kind=kind, foreign=_spelled(foreign), edits=spelled_edits)


class Rewritten(_Result):
    """What became of a file that was to be rewritten."""

    changed: bool
    """Whether the target was written; else the file can stay as it is."""


Edits = dict[tuple[int, int], list[tuple[str, str]]]
"""See `render.references.redaction.redirected`."""

Order = ScanOrder | UnpackOrder | RewriteOrder
Result = Scanned | Unpacked | Rewritten
_ORDERS: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="do")])


def obey(values: dict[str, Any]) -> Result:
    """Do what an order, as JSON, says. Raises ModelFailure, and OSError where a file cannot be read."""
    order = _ORDERS.validate_python(values)
    if isinstance(order, ScanOrder):
        found = scan(order.path)
        return Scanned.of(found, _decoded(order.path, found.kind) is not None)
    if isinstance(order, UnpackOrder):
        return _unpack(order.archive, unspelled(order.member), order.folder)
    return _rewrite(order)


def _unpack(archive: Path, member: str, folder: Path) -> Unpacked:
    models = archives.models(archive, SUPPORTED)
    if not models:  # no archive of models, but a damaged one, or a model of textures for instance
        return Unpacked(model=None)
    if not member and len(models) > 1:
        example = f"{archive.name}/{spelled(models[0])}"
        raise ModelFailure(
            FailureClass.UNSUPPORTED, f"{archive.name} holds {len(models)} models: name one, as {example}"
        )
    if member and member not in models:
        raise ModelFailure(FailureClass.MISSING, f"{archive.name} holds no {spelled(member)}")
    archives.unpack(archive, folder)
    return Unpacked(model=spelled(member or models[0]))


def _rewrite(order: RewriteOrder) -> Rewritten:
    data = _decoded(order.path, order.kind)
    if (order.edits or order.foreign) and order.path.stat().st_size <= LARGEST:
        edits = {span: [(unspelled(old), new) for old, new in names] for span, names in order.edits}
        data = data or order.path.read_bytes()
        data = redirected(blinded(data, _unspelled(order.foreign)), order.kind, edits)
    if data is None:
        return Rewritten(changed=False)
    order.target.write_bytes(data)
    return Rewritten(changed=True)


def _decoded(path: Path, kind: str) -> bytes | None:
    """The text of a file that must be converted for its importer; None where it can stay as it is."""
    if kind not in (*TEXTS, "off", "stl"):
        return None
    with path.open("rb") as file:
        data = plain_text.as_utf8(file)
        if data is None and kind in ("obj", "mtl"):
            data = plain_text.without_false_continuations(file)
    if kind == "mtl" and path.stat().st_size <= LARGEST:
        raw = data or path.read_bytes()
        usual = plain_text.usual_mtl(raw)
        return data if usual == raw else usual
    return data


def _spelled(names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(map(spelled, names))


def _unspelled(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(unspelled, names))
