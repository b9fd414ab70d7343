"""Names that lead out lead nowhere afterwards, in the same length; names that stay are left alone."""

from __future__ import annotations

import os

import pytest

from render.references.redaction import blinded


@pytest.mark.parametrize(
    ("data", "name", "expected"),
    [
        (b"map_Kd ../../a.png\n", "../../a.png", b"map_Kd __/__/a.png\n"),
        (
            b"map_Kd /etc/a.png\nmap_Ks tex/etc/a.png\n",
            "/etc/a.png",
            b"map_Kd _etc/a.png\nmap_Ks tex/etc/a.png\n",
        ),
        (b'"uri": "..%2Fa.png"', "..%2Fa.png", b'"uri": "__%2Fa.png"'),
        (b'"uri": "%2e%2E/a.png"', "%2e%2E/a.png", b'"uri": "______/a.png"'),
        (b'"uri": "\\/etc\\/a.png"', "/etc/a.png", b'"uri": "__etc\\/a.png"'),
        (b"<init_from>file:///a&amp;b.png<", "file:///a&b.png", b"<init_from>________a&amp;b.png<"),
        (b"\0\0//../a.png\0", "//../a.png", b"\0\0____/a.png\0"),
        (b"S\x08\0\0\0/b/a.png", "/b/a.png", b"S\x08\0\0\0_b/a.png"),
        (b"@\\\\server\\a.png@", "\\\\server\\a.png", b"@__server\\a.png@"),
    ],
)
def test_in_every_spelling(data: bytes, name: str, expected: bytes):
    assert blinded(data, [name]) == expected
    assert len(expected) == len(data)


def test_what_is_left_stays_in_the_folder():
    names = ["/a.png", "../a.png", "x/../../a.png", "file:///a.png", "//../../a.png"]
    for text in blinded("\n".join(names).encode(), names).decode().split("\n"):
        assert os.path.normpath(os.path.join("/model", text)).startswith("/model/")
