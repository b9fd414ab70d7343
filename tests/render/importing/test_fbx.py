"""FBX whose opacity is a texture: truth is what the tests wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from render.bundle import Bundle

QUAD = """; FBX 7.3.0 project file
FBXHeaderExtension: {
	FBXVersion: 7300
}
Objects: {
	Geometry: 1, "Geometry::g", "Mesh" {
		Vertices: *12 {
			a: -1,0,-1,1,0,-1,1,0,1,-1,0,1
		}
		PolygonVertexIndex: *4 {
			a: 0,1,2,-4
		}
		LayerElementUV: 0 {
			MappingInformationType: "ByPolygonVertex"
			ReferenceInformationType: "Direct"
			UV: *8 {
				a: 0,0,1,0,1,1,0,1
			}
		}
		LayerElementMaterial: 0 {
			MappingInformationType: "AllSame"
			ReferenceInformationType: "IndexToDirect"
			Materials: *1 {
				a: 0
			}
		}
		Layer: 0 {
			LayerElement: {
				Type: "LayerElementUV"
				TypedIndex: 0
			}
			LayerElement: {
				Type: "LayerElementMaterial"
				TypedIndex: 0
			}
		}
	}
	Model: 2, "Model::m", "Mesh" {
	}
	Material: 3, "Material::m", "" {
		ShadingModel: "lambert"
	}
	Texture: 4, "Texture::color", "" {
		FileName: "skin.png"
		RelativeFilename: "skin.png"
	}
	Texture: 5, "Texture::opacity", "" {
		FileName: "OPACITY"
		RelativeFilename: "OPACITY"
	}
}
Connections: {
	C: "OO",2,0
	C: "OO",1,2
	C: "OO",3,2
	C: "OP",4,3, "DiffuseColor"
	C: "OP",5,3, "TransparentColor"
}
"""


@pytest.mark.parametrize(
    ("opacity", "alpha", "share"),
    [("skin.png", None, 1.0), ("skin.png", (0, 255), 0.5), ("mask.png", None, 0.5)],
)
def test_a_texture_of_opacity(
    opacity: str, alpha: tuple[int, int] | None, share: float, render: Callable[..., Bundle], tmp_path: Path
) -> None:
    """Its alpha where it has one; else its brightness, unless it is the color of the surface itself."""
    skin = Image.new("RGB", (64, 64), (20, 40, 60))
    if alpha:
        skin = Image.merge("RGBA", (*skin.split(), _halves(*alpha)))
    skin.save(tmp_path / "skin.png")
    _halves(0, 255).save(tmp_path / "mask.png")
    (tmp_path / "a.fbx").write_text(QUAD.replace("OPACITY", opacity))
    bundle = render(tmp_path / "a.fbx")
    seen = np.concatenate([view.albedo[view.depth > 0] for view in bundle.views()]).astype(int)
    assert np.abs(seen - (20, 40, 60)).max() <= 2
    skin.convert("RGB").save(tmp_path / "plain.png")
    opaque = QUAD.replace("skin.png", "plain.png").replace("OPACITY", "plain.png")
    (tmp_path / "b.fbx").write_text(opaque.replace('\tC: "OP",5,3, "TransparentColor"\n', ""))
    whole = render(tmp_path / "b.fbx", "whole")
    assert abs(len(seen) / sum((view.depth > 0).sum() for view in whole.views()) - share) < 0.06


def _halves(left: int, right: int) -> Image.Image:
    image = Image.new("L", (64, 64), left)
    image.paste(right, (32, 0, 64, 64))
    return image
