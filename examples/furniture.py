"""Real objects for a first training: 820 textured models of Debian's package `sweethome3d-furniture`.

    apt-get download sweethome3d-furniture && dpkg -x sweethome3d-furniture_*.deb furniture
    python examples/furniture.py furniture out/furniture/models 320

unpacks the catalogs (zip files of OBJ models) and writes models.csv beside them: path, caption, category
and license of all models, or of the given number, evenly chosen. `insideout render` takes the list;
examples/it_learns.sh continues with it. The models are CC0 and CC-BY; the list keeps license and creator.
"""

from __future__ import annotations

import csv
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

FIELDS: tuple[str, ...] = ("path", "caption", "category", "license")


def main(source: Path, target: Path, count: int | None = None) -> None:
    """Unpack every catalog below `source` into `target` and list its models, or `count` of them."""
    catalogs = sorted(source.rglob("*.sh3f"))
    if not catalogs:
        sys.exit(f"{source}: no .sh3f catalogs below it. Unpack Debian's sweethome3d-furniture there.")
    target.mkdir(parents=True, exist_ok=True)
    rows = [row for catalog in catalogs for row in unpack(catalog, target / catalog.stem)]
    if count and count < len(rows):
        rows = [rows[i * len(rows) // count] for i in range(count)]
    with (target / "models.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} models in {target / 'models.csv'}")


def unpack(catalog: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Unzip a catalog and yield a row for each model that it contains."""
    with zipfile.ZipFile(catalog) as archive:
        archive.extractall(folder)
        properties = archive.read("PluginFurnitureCatalog.properties").decode("latin-1")
    values = dict(re.findall(r"^([^#!\s][^=\s]*)=(.*)$", properties, re.MULTILINE))
    for key, name in values.items():
        number = key.removeprefix("name#")
        model = folder / values.get(f"model#{number}", "/").lstrip("/")
        if number != key and model.is_file():
            creator = values.get(f"creator#{number}", "").strip()
            yield {
                "path": str(model.relative_to(folder.parent)),
                "caption": _text(name),
                "category": _text(values.get(f"category#{number}", "")),
                "license": _text(f"{values.get('license', '')} {creator}".strip()),
            }


def _text(value: str) -> str:
    """A property's value: escapes like \\u00e9 are characters."""
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), value).strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
