"""What a network is shown of photographs: cuts by alpha, and pictures that nobody posed."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from training.conditioning.cameras import camera_numbers, look_up, nowhere, photographed, project
from training.conditioning.encoder_cache import CachedEncoder
from training.conditioning.frames import enter_first, frame_of
from training.conditioning.masks import Masks
from training.conditioning.outlines import toward_outlines
from training.conditioning.shown import MARGIN, SIDE, ViewReader, ViewUse, cropped, cut_to_alpha
from training.objectives.condition import Condition

WIDTH, HEIGHT = 90, 60
POINT = torch.tensor([[0.3, -0.2, 0.4]]).T[None]  # (1, 3, 1)


def camera(fov: float = 0.9) -> Tensor:
    """(1, 1, 19): 4 before the origin, to the left of the ray through the picture's center."""
    pose = np.eye(4)
    pose[:3, 3] = [-0.4, 0.3, 4]
    return torch.from_numpy(camera_numbers(pose, fov))[None, None]


def pixel_of(point: Tensor) -> tuple[int, int]:
    """Column and row of the picture's pixel that shows the point; the picture is the middle of its square."""
    places, _ = project(point, camera())
    column, row = ((places[0, 0, 0] + 1) / 2 * WIDTH).tolist()
    return int(column), int(row - (WIDTH - HEIGHT) / 2)


def photograph() -> bytes:
    """A blue square, with a red block of nine pixels where the point is."""
    column, row = pixel_of(POINT)
    image = Image.new("RGBA", (WIDTH, HEIGHT))
    image.paste((0, 0, 255, 255), (column - 8, row - 12, column + 16, row + 12))
    image.paste((255, 0, 0, 255), (column - 1, row - 1, column + 2, row + 2))
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("varied", [(0, 0, 0), (0.3, 0.1, -0.2), (-0.1, -0.05, 0.05)])
def test_a_cut_pictures_camera_shows_the_same_point(varied: tuple[float, float, float]) -> None:
    cut, box = cut_to_alpha(photograph(), *varied)
    with Image.open(io.BytesIO(cut)) as opened:
        image = np.asarray(opened)
    side = len(image)
    assert image.shape == (side, side, 4) and side == pytest.approx(24 * MARGIN * (1 + varied[0]), abs=1)
    told = cropped(camera(), torch.tensor([[box]]))
    places, _ = project(POINT, told)
    column, row = ((places[0, 0, 0] + 1) / 2 * side).long().tolist()
    assert image[row, column].tolist() == [255, 0, 0, 255]
    middle = (np.argwhere(image[..., 3] > 0).mean(0) + 0.5) / side * 2 - 1  # of the square, down and right
    expected = np.array([varied[2], -varied[1]])
    np.testing.assert_allclose(middle, expected, atol=2 / side)


class Colors:
    """An encoder of one cell: the picture's mean red."""

    name, takes, size, features, cells, identity = "colors", "image", 8, 1, 1, "colors"

    def __call__(self, images: list[bytes]) -> Tensor:
        means = [np.asarray(Image.open(io.BytesIO(image)))[..., 0].mean() for image in images]
        return torch.tensor(means).view(-1, 1, 1).float()


def reader(jitter: float) -> ViewReader:
    encoder = CachedEncoder(Colors(), 1)  # pyright: ignore[reportArgumentType]
    use = ViewUse(True, True, True, jitter, inside=True, outlines=True)
    return ViewReader(encoder, use, torch.device("cpu"))


def test_training_varies_cuts_and_use_does_not() -> None:
    """Every cut shows the point where its camera says; each is a function of the picture alone."""
    varying = reader(0.2)

    def read(cut: float | None, of: ViewReader = varying) -> Condition:
        return of.read([[photograph()]], camera(), cuts=None if cut is None else torch.tensor([[cut]]))

    cuts = [read(cut) for cut in (0, 0.3, 0.5, 0.9)]
    assert len({tuple(cut["cameras"][0, 0, 16:].tolist()) for cut in cuts}) == 4
    for cut in [*cuts, read(None)]:
        red, _, blue, alpha = look_up(POINT, cut["cameras"], cut["pixels"])[0][0, 0, 0].tolist()
        assert red > 0.8 and blue < 0.2 and alpha == pytest.approx(1), cut["cameras"]
    again = read(0.3, reader(0.2))
    assert all(torch.equal(again[name], cuts[1][name]) for name in again)
    exact = read(0.3, reader(0))
    assert all(torch.equal(exact[name], read(None)[name]) for name in exact)
    assert cuts[0]["pixels"].shape == (1, 1, 4, SIDE, SIDE)


def test_outlines_are_those_of_cut_pictures() -> None:
    """In every cut, points that follow them fall on the object."""
    points = POINT + 0.7 * torch.randn(1, 3, 50, generator=torch.Generator().manual_seed(0))
    for cut in (None, 0, 0.3, 0.9):
        cuts = None if cut is None else torch.tensor([[cut]])
        shown = reader(0.2).read([[photograph()]], camera(), cuts=cuts)
        assert shown["outlines"].shape == (1, 1, 3, SIDE, SIDE)
        fall = project(points, shown["cameras"])
        ways = toward_outlines(fall, shown["cameras"], shown["outlines"])[0, 0, :, :3]
        moved = points + ways.T[None]
        before, after = (
            look_up(at, shown["cameras"], shown["pixels"])[0][0, 0, :, 3] for at in (points, moved)
        )
        assert (before < 0.1).sum() > 20 and (after > 0.3).all()


def test_masks_are_cut_with_their_pictures() -> None:
    """A mask that is the picture's alpha stays so in every cut of training."""
    with Image.open(io.BytesIO(photograph())) as opened:
        alpha = opened.getchannel("A")
    data = io.BytesIO()
    alpha.save(data, "PNG")
    behind = [[Masks(data.getvalue(), data.getvalue())]]
    found = []
    for cut in (0, 0.3, 0.5, 0.9):
        shown = reader(0.2).read([[photograph()]], camera(), cuts=torch.tensor([[cut]]), behind=behind)
        found.append(shown["inside"][0, 0, 0])
        assert (found[-1] - shown["pixels"][0, 0, 3]).abs().mean() < 0.02
        assert (shown["interiors"] - shown["outlines"]).abs().max() <= 4 / SIDE  # two pixels
    assert all((found[i] - found[i + 1]).abs().max() > 0.5 for i in range(3))
    nothing = reader(0.2).read([[photograph()]], camera())
    assert not nothing["inside"].any() and not nothing["interiors"].any()


def test_a_camera_of_unknown_lens_is_moved_until_the_object_looks_as_large() -> None:
    """A dolly zoom: the frame of the picture stays, whole or cut."""
    box = torch.tensor([[[0.4, 0.3, -0.2]]])
    for fov in (0.3, 0.9, 1.4):
        one = camera(fov)
        other = photographed(one)
        torch.testing.assert_close(other[..., 16:], torch.from_numpy(nowhere())[None, None, 16:])
        for true, told in ((one, other), (cropped(one, box), cropped(other, box))):
            frame, same = frame_of(true[:, 0]), frame_of(told[:, 0])
            for a, b in zip(vars(frame).values(), vars(same).values(), strict=True):
                torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
            at_center = torch.zeros(1, 3, 1)
            torch.testing.assert_close(project(at_center, told)[0], project(at_center, true)[0])
        assert (project(POINT, one)[0] - project(POINT, other)[0]).abs().max() > 0.01
    unposed = torch.from_numpy(nowhere())
    torch.testing.assert_close(photographed(unposed), unposed)


def test_views_relative_to_a_picture_without_a_camera_have_none() -> None:
    known = torch.tensor([[True, True, False], [False, True, True]])
    entered, _ = enter_first({"cameras": camera().expand(2, 3, -1), "known": known})
    assert entered["known"].tolist() == [[True, True, False], [True, False, False]]


def test_training_sees_a_photograph_as_use_does() -> None:
    """A view of a long lens, its camera withheld, is a picture that nobody posed."""
    lens = camera(0.3)
    trained = reader(0).read([[photograph()]], lens, torch.tensor([[False]]))
    used = reader(0).read([[photograph()]])
    (trained, frame), (used, _) = enter_first(trained), enter_first(used)
    for name in trained:
        torch.testing.assert_close(trained[name], used[name], atol=1e-5, rtol=1e-5)
    _, box = cut_to_alpha(photograph())
    true = frame_of(cropped(lens, torch.tensor([[box]]))[:, 0])
    torch.testing.assert_close(frame.enter(POINT), true.enter(POINT), atol=1e-5, rtol=1e-5)
