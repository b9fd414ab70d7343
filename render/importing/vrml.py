"""VRML 2 (VRML97) and X3D text as one tree of nodes: field values stay text until they are needed.

Both encodings have the same content: a node has fields with values and fields with nodes; DEF names a node
and USE repeats it. Grammar: ISO/IEC 14772-1 annex A; X3D's XML encoding: ISO/IEC 19776-1. Prototypes and
scripts are skipped.
"""

from __future__ import annotations

import gzip
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from render.failures import DAMAGE, FailureClass, ModelFailure

_TOKEN = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([\[\]{}])|([^\s\[\]{}",#]+))')
_NUMBERS = re.compile(r"\s*\[([-+0-9.eE\s,xXa-fA-F]*)\]")
_VALUE = re.compile(r"[-+.\d]|TRUE$|FALSE$|true$|false$")
_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml[^>]*>")
_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|#[^\n\r]*')
_DEPTH = 400
_LARGEST = 1 << 30  # bytes, unpacked
_SURROGATES = range(0xDC80, 0xDD00)  # Python's characters for bytes that are not UTF-8
_TO_PRIVATE = {code: code + 0x1B00 for code in _SURROGATES}  # which XML may hold
_FROM_PRIVATE = {code + 0x1B00: code for code in _SURROGATES}


@dataclass
class Node:
    """One node; `values` holds the plain fields as text, `children` the nodes in its fields, in order."""

    type: str
    values: dict[str, str] = field(default_factory=dict)
    children: list[tuple[str, Node]] = field(default_factory=list)  # (field, node)

    def numbers(self, name: str, default: str = "") -> np.ndarray:
        """A field's numbers, (N,) float64; ValueError where it holds something else."""
        text = self.values.get(name, default).replace(",", " ")
        if "x" in text.lower():
            return np.array([float(int(word, 0)) for word in text.split()])
        return np.array(text.split(), np.float64)

    def strings(self, name: str) -> list[str]:
        """A field's strings; one without quotes counts whole. Bytes that are not UTF-8 are surrogates."""
        text = self.values.get(name, "").translate(_FROM_PRIVATE)
        return re.findall(r'"((?:[^"\\]|\\.)*)"', text) or ([text.strip()] if text.strip() else [])

    def flag(self, name: str, default: bool) -> bool:
        """A field's TRUE or FALSE."""
        return self.values.get(name, str(default)).strip().lower() == "true"

    def child(self, *types: str) -> Node | None:
        """The first child node of one of these types."""
        return next((node for _, node in self.children if node.type in types), None)


def read_nodes(path: Path) -> list[Node]:
    """The root nodes of a .wrl, .x3dv or .x3d file, gzipped or not. Raises ModelFailure."""
    raw = path.read_bytes()
    try:
        if raw[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=io.BytesIO(raw)) as plain:
                raw = plain.read(_LARGEST)
        if raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
            return [_from_xml(_parsed(raw), {})]
        if raw[:10] == b"#VRML V1.0":
            raise ModelFailure(
                FailureClass.UNSUPPORTED, f"{path.name} is VRML 1.0; only VRML 2 (VRML97) and X3D are read"
            )
        return _Parser(raw.decode("utf-8", "surrogateescape")).statements()
    except (OSError, *DAMAGE) as error:
        raise ModelFailure(FailureClass.INVALID, f"{path.name}: {error}") from error


def _parsed(raw: bytes) -> ElementTree.Element:
    """The root element, also where names are in another encoding than the text claims."""
    try:
        return ElementTree.fromstring(raw)
    except ElementTree.ParseError:
        text = raw.decode("utf-8", "surrogateescape").translate(_TO_PRIVATE)
        if not any(chr(code) in text for code in _FROM_PRIVATE):
            raise
        return ElementTree.fromstring(_DECLARATION.sub("", text))


def _from_xml(element: ElementTree.Element, named: dict[str, Node]) -> Node:
    if "USE" in element.attrib:
        return named.get(element.attrib["USE"], Node("Missing"))
    node = Node(element.tag.rpartition("}")[2], dict(element.attrib))
    if "DEF" in element.attrib:
        named[element.attrib["DEF"]] = node
    for child in element:
        if isinstance(child.tag, str):
            node.children.append((child.get("containerField", ""), _from_xml(child, named)))
    return node


class _Parser:
    """Recursive descent over the text; an array of numbers is one token."""

    def __init__(self, text: str):
        self.text = _COMMENT.sub(lambda match: match.group(1) or "", text)
        self.at = 0
        self.depth = 0
        self.named: dict[str, Node] = {}

    def statements(self) -> list[Node]:
        nodes: list[Node] = []
        while (word := self._peek()) is not None:
            if word in "}]":
                raise ValueError(f"a {word} without its opening at character {self.at}")
            node = self._statement()
            if node is not None:
                nodes.append(node)
        return nodes

    def _skip_commas(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in ", \t\r\n":
            self.at += 1

    def _peek(self) -> str | None:
        at = self.at
        word = self._next()
        self.at = at
        return word

    def _next(self) -> str | None:
        """The next word, or None at the end; strings keep their quotes."""
        self._skip_commas()
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            if self.text[self.at :].strip():
                raise ValueError(
                    f"cannot be parsed at character {self.at}: {self.text[self.at : self.at + 20]!r}"
                )
            return None
        self.at = match.end()
        return match.group().strip()

    def _need(self) -> str:
        word = self._next()
        if word is None:
            raise ValueError("the file ends in the middle of a node")
        return word

    def _statement(self) -> Node | None:
        """One node, or None for a statement that shows nothing."""
        word = self._need()
        if word == "DEF":
            name = self._need()
            node = self._node(self._need(), name)
            return node
        if word == "USE":
            return self.named.get(self._need(), Node("Missing"))
        if word in ("PROTO", "EXTERNPROTO"):
            self._need()
            self._skip("[")
            if word == "PROTO":
                self._skip("{")
            else:
                self._field(Node(""), "url")
            return None
        if word == "ROUTE":
            for _ in range(3):
                self._need()
            return None
        if word in ("PROFILE", "COMPONENT", "META", "UNIT", "IMPORT", "EXPORT", "NULL"):
            for _ in range({"META": 2, "UNIT": 3, "NULL": 0}.get(word, 1)):
                self._need()
            return None
        return self._node(word, None)

    def _node(self, kind: str, name: str | None) -> Node:
        node = Node(kind)
        if name is not None:
            self.named[name] = node
        if kind == "Script":
            self._skip("{")
            return node
        if self._need() != "{":
            raise ValueError(f"{kind} is not followed by {{ at character {self.at}")
        self.depth += 1
        if self.depth > _DEPTH:
            raise ValueError(f"nodes are nested more than {_DEPTH} deep")
        while (word := self._need()) != "}":
            if word in ("ROUTE", "PROTO", "EXTERNPROTO"):
                self.at -= len(word)
                self._statement()
            else:
                self._field(node, word)
        self.depth -= 1
        return node

    def _field(self, node: Node, name: str) -> None:
        match = _NUMBERS.match(self.text, self.at)
        if match:
            self.at = match.end()
            node.values[name] = match.group(1)
        elif self._peek() == "[":
            self._need()
            while self._peek() != "]":
                self._item(node, name)
            self._need()
        else:
            self._item(node, name)

    def _item(self, node: Node, name: str) -> None:
        """One node, or a run of plain words."""
        word = self._peek()
        if word is None:
            raise ValueError("the file ends in the middle of a field")
        if word == "IS":
            self._need()
            self._need()
        elif word[:1] == '"' or _VALUE.match(word):
            words = [node.values[name]] if name in node.values else []
            while (word := self._peek()) is not None and (word[:1] == '"' or _VALUE.match(word)):
                words.append(self._need())
            node.values[name] = " ".join(words)
        elif word in "{}[]":
            raise ValueError(f"an unexpected {word} at character {self.at}")
        else:
            child = self._statement()
            if child is not None:
                node.children.append((name, child))

    def _skip(self, opening: str) -> None:
        """Skip a bracketed part."""
        if self._need() != opening:
            raise ValueError(f"{opening} is missing at character {self.at}")
        closing = {"[": "]", "{": "}"}[opening]
        depth = 1
        while depth:
            word = self._need()
            depth += (word == opening) - (word == closing)
