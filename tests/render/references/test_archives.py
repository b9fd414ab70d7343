"""Archives are judged by their directory: entries, expansion, names."""

from __future__ import annotations

import random
import resource
import struct
import zipfile
from pathlib import Path

import pytest

from render.failures import ModelFailure
from render.references import archives


def archive(path: Path, entries: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelFailure) as caught:
        archives.check(path)
    assert caught.value.kind == "unsafe_archive" and path.name in caught.value.message
    return caught.value.message


def test_an_ordinary_archive_passes(tmp_path: Path):
    archives.check(archive(tmp_path / "a.usdz", {"a.usda": b"#usda 1.0", "maps/a.png": b"x"}))


@pytest.mark.parametrize("name", ["../a.usda", "maps/../../a.usda", "/a.usda", "C:/a.usda", "..\\a.usda"])
def test_names_that_leave(tmp_path: Path, name: str):
    assert "outside the archive" in refusal(archive(tmp_path / "a.usdz", {name: b"x"}))


def test_too_many_entries(tmp_path: Path):
    entries = {f"{number}.usda": b"" for number in range(archives.MOST_ENTRIES + 1)}
    assert "entries" in refusal(archive(tmp_path / "a.usdz", entries))


def test_a_bomb(tmp_path: Path):
    bomb = archive(tmp_path / "a.3mf", {"3D/3dmodel.model": bytes(70 << 20)}, zipfile.ZIP_DEFLATED)
    assert "unpack to" in refusal(bomb)


def claim(path: Path, size: int, zip64: bool) -> Path:
    """An archive whose end says that its directory has `size` bytes, and lies where it should."""
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size)
        if zip64:
            file.write(struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, 0))
            file.write(struct.pack("<4sLQL", b"PK\x06\x07", 0, size, 1))
        small = 0xFFFFFFFF if zip64 else size
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, small, 0, 0))
    return path


@pytest.mark.parametrize("zip64", [False, True])
def test_a_directory_too_large_to_be_read(tmp_path: Path, zip64: bool):
    """Of sparse files: reading 2 GiB of zeros would show in this process's peak."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "directory is larger" in refusal(claim(tmp_path / "a.usdz", 2 << 30, zip64))
    assert archives.models(tmp_path / "a.usdz", {".usda"}) is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 << 10, "in KiB"


def test_a_directory_that_is_not_where_its_end_says_is_damaged(tmp_path: Path):
    path = archive(tmp_path / "a.usdz", {"a.usda": b"x"})
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x05\x06")
    data[at + 12 : at + 16] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    assert archives.directory(path) is None


def test_a_damaged_archive_is_left_to_its_importer(tmp_path: Path):
    path = archive(tmp_path / "a.usdz", {"a.usda": b"x" * 1000})
    path.write_bytes(path.read_bytes()[:500])
    archives.check(path)


@pytest.mark.parametrize(
    "kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
@pytest.mark.parametrize("at", range(8))
def test_damaged_contents_are_damage_however_they_are_compressed(tmp_path: Path, kind: int, at: int):
    path = archive(tmp_path / "a.zip", {"a.obj": random.Random(1).randbytes(500)}, kind)
    data = bytearray(path.read_bytes())
    data[50 + 50 * at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ModelFailure, match=r"a\.zip: damaged zip archive") as caught:
        archives.unpack(path, tmp_path / "unpacked")
    assert caught.value.kind == "invalid"


def test_an_entry_without_a_name_is_damage(tmp_path: Path):
    """zipfile's own `is_dir` raises IndexError on it."""
    path = archive(tmp_path / "a.zip", {"x": b"v 0 0 0", "chair.obj": b"v 0 0 0"})
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 28 : at + 30] = (0).to_bytes(2, "little")  # length of the first name, 1 byte, in the directory
    del data[at + 46]
    end = data.rfind(b"PK\x05\x06")
    size = int.from_bytes(data[end + 12 : end + 16], "little") - 1
    data[end + 12 : end + 16] = size.to_bytes(4, "little")
    path.write_bytes(data)
    (tmp_path / "out").mkdir()
    with pytest.raises(ModelFailure) as caught:
        archives.unpack(path, tmp_path / "out")
    assert caught.value.kind == "invalid" and path.name in caught.value.message
