"""A checkpoint loaded for sampling, and what a base model and an upsampler make together.

    generator = Generator(Path("DATASET/checkpoints/tiny"))
    clouds = generator.sample([Path("chair.png").read_bytes()], points=1024)     # (1, 6, 1024) float32

Unless told otherwise, sampling runs on the device and in the precision that training would choose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from render.failures import UserError
from training import checkpoints
from training.checkpoints import CheckpointError
from training.conditioning.cameras import NUMBERS, nowhere
from training.conditioning.frames import Frame, enter_first
from training.conditioning.masks import Behind
from training.conditioning.shown import BLANK, View
from training.conditioning.view_state import ViewState, read_state
from training.config import TrainConfig
from training.learner import arithmetic, pick_device
from training.networks import point_e
from training.networks.views import Remembering
from training.objectives.condition import Condition, Inputs, withheld
from training.objectives.objective import Model
from training.objectives.sampler import sample
from training.segmentation.segmenter import segmenter_of
from training.settings import Precision, Sampling

Given = bytes | str | Sequence[View] | None
"""What a cloud is generated from: an image, a text, several views, or nothing."""


class Generator:
    """A checkpoint loaded for sampling: one of ours, or an official file and the model's published name.

    `encoder_path` is where the encoder's weights are, if not where they were in training; `segmenter` is the
    checkpoint that predicts masks, likewise.
    """

    def __init__(
        self,
        checkpoint: Path,
        device: str = "auto",
        name: str | None = None,
        encoder_path: str | None = None,
        precision: Precision = "auto",
        segmenter: Path | None = None,
    ):
        self.path, self.device = checkpoint, pick_device(device)
        if name is None:
            self.config, self.model, self.encoder = checkpoints.load_model(
                checkpoint, self.device, encoder_path
            )
        else:
            self.config = published_config(name, encoder_path)
            self.encoder = checkpoints.build_encoder(self.config, self.device)
            self.model = checkpoints.build_model(self.config, self.encoder.features).to(self.device)
            point_e.load_weights(self.model, checkpoint)
            self.model.eval().requires_grad_(False)
        self.segmenter = segmenter_of(self.config, self.device, segmenter)
        self.reader = checkpoints.build_reader(self.config, self.encoder, self.device, self.segmenter)
        self.objective = checkpoints.build_objective(self.config)
        self._type = arithmetic(precision, self.device)

    @property
    def sees_inside(self) -> bool:
        """Whether it is shown what lies behind views."""
        return self.config.see_inside != "none"

    @property
    def guess(self) -> Behind:
        """What it is shown behind a picture without masks: predicted ones, if anything predicts them."""
        return "predicted" if self.segmenter else None

    @property
    def takes(self) -> str | None:
        """`image`, `text` or, for an unconditional model, None."""
        return self.encoder.takes if self.config.encodes else None

    def sample(
        self,
        items: Sequence[Given],
        points: int = 1024,
        sampling: Sampling = Sampling(),  # noqa: B008, frozen
        low_res: np.ndarray | None = None,
        report: Callable[[str], None] | None = None,
        drawn: Condition | None = None,
        noise: Tensor | None = None,
    ) -> np.ndarray:
        """Clouds (B, C, points) float32 in the network's frame, B = len(items), sampled in batches.

        `items` are images, views or texts, as the encoder takes them; without any (None) the condition is
        withheld, as from some samples in training. All have the same number of views. `low_res` (B, C, n),
        for an upsampler, are the coarse clouds. A cloud's initial noise follows from the seed and its index.
        `report` takes progress lines. `drawn`, for a merger, are its `clouds` and `toward` (see `condition`).
        `noise` (B, C, points) replaces the seed's.
        """
        if self.config.model == "merge" and drawn is None:
            raise UserError(f"{self.path}: a merger, which takes clouds. Use `insideout merge --checkpoint`.")
        if noise is None:
            generator = torch.Generator().manual_seed(sampling.seed)
            noise = torch.randn(len(items), self.model.channels, points, generator=generator)
        clouds, size = [], sampling.batch
        for at in range(0, len(items), size):
            part, low = items[at : at + size], None if low_res is None else low_res[at : at + size]
            model = self.model if report is None else self._counted(sampling, part, at, len(items), report)
            plan = sampling if part[0] is not None else replace(sampling, guidance=1.0)
            condition, frame = self._condition(part, low)  # the encoder has its own precision
            condition |= {name: one[at : at + size].to(self.device) for name, one in (drawn or {}).items()}
            cloud = self.denoised(noise[at : at + size], condition, plan, model=model)
            clouds.append((frame.leave(cloud) if frame else cloud).cpu())
        return torch.cat(clouds).numpy()

    def denoised(
        self,
        noise: Tensor,
        condition: Condition,
        sampling: Sampling,
        without: Condition | None = None,
        model: Model | None = None,
    ) -> Tensor:
        """Unit noise (B, C, N) to clouds in the network's frame, float32; see `sampler.sample`."""
        with self.autocast():
            cloud = sample(
                self.objective,
                model or self.model,
                noise.to(self.device),
                condition,
                sampling.steps,
                sampling.guidance,
                method=sampling.method,
                rule=sampling.rule,
                prepare=self.model.prepared,
                without=without,
            )
        return cloud.float()

    def autocast(self) -> torch.autocast:
        """The precision of the network."""
        return torch.autocast(self.device.type, self._type or torch.bfloat16, enabled=bool(self._type))

    def begin(self, low_res: np.ndarray | None = None, state: Path | None = None) -> Session:
        """An object that is shown view by view; `low_res` (C, n) for an upsampler, is its coarse cloud.

        `state` is the file that an earlier session of the object has saved. UserError if it cannot be used.
        """
        fresh = ViewState(checkpoints.fingerprint(self.model, self.encoder))
        if state and self.config.model == "upsample":
            low_res = np.zeros((self.model.channels, self.config.condition_points), np.float32)
        if low_res is not None:
            fresh.base["low_res"] = torch.from_numpy(low_res)[None].to(self.device)
        session = Session(self, fresh)
        if state:  # one blank view shows what belongs in a state of this model
            session.state = read_state(state, session.show(BLANK, nowhere()).state, self.device)
        return session

    def cameras_of(self, views: Sequence[View]) -> np.ndarray:
        """The whole pictures' cameras in the frame of the cloud, (V, 19), of those that are known."""
        if self.config.frame == "object" or not views:
            known = [view.camera for view in views if view.camera is not None]
            return np.array(known, np.float32).reshape(-1, NUMBERS)
        condition, _ = self._condition([views], None)
        cameras = condition["cameras"][0].cpu().numpy()
        if views[0].camera is not None:
            return np.stack([view.camera for view in views if view.camera is not None])
        for camera, view in zip(cameras, views, strict=True):
            camera[16:] = (nowhere() if view.camera is None else view.camera)[16:]
        return cameras[condition["known"][0].cpu().numpy()]

    def _condition(
        self, items: Sequence[Given], low_res: np.ndarray | None
    ) -> tuple[Condition, Frame | None]:
        """The condition, and the network's frame, None: the object's, as for first views without a camera."""
        condition: Condition = {}
        if self.takes == "text":
            texts = [item for item in items if isinstance(item, str)]
            embeddings = self.encoder(texts) if texts else torch.zeros(len(items), self.encoder.features)
            condition["embeddings"] = embeddings.to(self.device)
        elif self.takes == "image":
            given = [views_of(item) for item in items]
            condition = self.reader.read_views(given) if given[0] else self.reader.nothing(len(items))
        if low_res is not None:
            condition["low_res"] = torch.from_numpy(low_res).to(self.device)
        if self.config.frame == "object":
            return condition, None
        posed = condition["known"][:, 0]
        condition, frame = enter_first(condition)
        frame = frame.only(posed)
        if low_res is not None:
            condition["low_res"] = frame.enter(condition["low_res"])
        return condition, frame

    def _counted(
        self,
        sampling: Sampling,
        items: Sequence[Given],
        at: int,
        of: int,
        report: Callable[[str], None],
    ) -> Callable[..., Tensor]:
        """The model, which reports its progress every five seconds."""
        guided = sampling.guidance != 1 and self.takes and items[0] is not None
        views = len(views_of(items[0])) if sampling.rule == "mean" else 1
        evaluations = 2 * sampling.steps - 1 if sampling.method == "heun" else sampling.steps
        calls = evaluations * (2 if guided else 1) * views
        done, reported = 0, time.monotonic()

        def call(*arguments: Tensor, **condition: Tensor) -> Tensor:
            nonlocal done, reported
            done += 1
            if time.monotonic() - reported > 5:
                reported = time.monotonic()
                report(f"clouds {at + 1} to {at + len(items)} of {of}: {100 * done // calls} %")
            return self.model(*arguments, **condition)

        return call


class Session:
    """An object that is shown view by view: `show` reads a view once, `draw` samples a cloud at any time.

    With `causal` and `state`, what the network makes of a view is kept for all later steps and clouds.
    """

    def __init__(self, generator: Generator, state: ViewState):
        self._generator = generator
        self.state = state

    @torch.inference_mode()
    def show(self, image: bytes, camera: np.ndarray | None = None, behind: Behind = None) -> Session:
        """Show a further view: PNG or JPEG, its camera (19,), see `conditioning.cameras`, if known, and what
        lies behind it."""
        state = self.state
        shown = self._generator.reader.read_views([[View(image, camera, behind)]])
        if not state.views:
            state.posed = camera is not None
        if self._generator.config.frame == "first_view":
            if not state.posed:
                shown["known"] = torch.zeros_like(shown["known"])  # nothing is known relative to the first
            shown, state.first = enter_first(shown, state.first)
            if not state.views and state.frame and "low_res" in state.base:
                state.base["low_res"] = state.frame.enter(state.base["low_res"])
        self._remember(shown)
        return self

    def draw(self, points: int = 0, sampling: Sampling = Sampling()) -> np.ndarray:  # noqa: B008, frozen
        """A cloud (C, N) float32 from the views so far; points 0: as many as in training."""
        generator, state = self._generator, self.state
        if not state.views:
            raise UserError("Show a view before drawing a cloud.")
        condition = state.base | state.seen
        without = withheld(condition)
        for one, memory in zip((condition, without), state.memories, strict=False):
            one["memory"] = memory
        noise = torch.Generator().manual_seed(sampling.seed)
        noise = torch.randn(1, generator.model.channels, points or generator.config.points, generator=noise)
        cloud = generator.denoised(noise, condition, sampling, without)
        return (state.frame.leave(cloud) if state.frame else cloud)[0].cpu().numpy()

    def save(self, path: Path) -> None:
        """Write the state, which `Generator.begin` reads: a session goes on as if it had never ended."""
        checkpoints.write(path, self.state.record())

    def _remember(self, shown: Condition) -> None:
        state = self.state
        if self._model.views.fusion != "tokens":
            with self._generator.autocast():
                kept = zip(state.memories or (None, None), (shown, withheld(shown)), strict=True)
                state.memories = [self._read(memory, one) for memory, one in kept]
            shown = {name: value for name, value in shown.items() if name != "embeddings"}
        state.add(shown)

    def _read(self, memory: Tensor | None, one: Condition) -> Tensor:
        return self._model.remembered(memory, Inputs(**one), self.state.views)

    @property
    def _model(self) -> Remembering:
        model = self._generator.model
        assert isinstance(model, Remembering), "what scores points keeps no state"
        return model


def published_config(name: str, encoder_path: str | None = None) -> TrainConfig:
    """The configuration of one of OpenAI's models. UserError for an unknown name."""
    if name not in point_e.PUBLISHED:
        raise UserError(f"{name!r}: unknown model. OpenAI published {', '.join(point_e.PUBLISHED)}.")
    known = point_e.PUBLISHED[name]
    return TrainConfig.model_validate(
        {
            "model": known.family,
            "width": known.shape.width,
            "layers": known.shape.layers,
            "heads": known.shape.heads,
            "points": known.points,
            "step_points": 0,
            "condition_points": 1024 if known.family == "upsample" else 0,
            "prediction": "epsilon",
            "schedule": known.schedule,
            "encoder": known.encoder if known.features else "efficientnet_lite0",
            "encoder_path": encoder_path,
        }
    )


def open_upsampler(
    path: Path, device: str = "auto", encoder_path: str | None = None, precision: Precision = "auto"
) -> Generator:
    """An upsampler of ours, or OpenAI's file. CheckpointError if it is another model."""
    name = None if checkpoints.is_own(path) else "upsample"
    upsampler = Generator(path, device, name, encoder_path, precision)
    if upsampler.config.model != "upsample":
        raise CheckpointError(
            f"{path}: a {upsampler.config.model} model, not an upsampler. Give an upsampler, or none."
        )
    return upsampler


def upsampler_for(
    base: Generator,
    points: int,
    path: Path | None,
    device: str = "auto",
    encoder_path: str | None = None,
    precision: Precision = "auto",
) -> Generator | None:
    """The upsampler at `path`, if one is given, which takes the base's clouds of `points` points.

    CheckpointError if it is another model, or takes others.
    """
    if path is None:
        return None
    found = open_upsampler(path, device, encoder_path, precision)
    check_pair(base, found, points)
    return found


def check_pair(base: Generator, upsampler: Generator, points: int) -> None:
    """CheckpointError if the upsampler cannot take the base's clouds of `points` points."""
    takes = (upsampler.model.channels, upsampler.config.condition_points)
    if takes != (base.model.channels, points):
        raise CheckpointError(
            f"{upsampler.path}: this upsampler takes {takes[1]} points of {takes[0]} channels; the base "
            f"makes {points} of {base.model.channels}."
        )


def refine(
    upsampler: Generator,
    items: Sequence[Given],
    clouds: np.ndarray,
    sampling: Sampling = Sampling(),  # noqa: B008, frozen
    report: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Coarse clouds (B, C, n) -> the same followed by the upsampler's points, (B, C, n + points).

    Where the items are of a kind that the upsampler does not take (a text, for one of images), its condition
    is the coarse cloud alone; one that was trained with one view sees the first.
    """
    if kind_of(items[0]) != upsampler.takes:
        items = [None] * len(items)
    elif upsampler.config.views_most == 1 and sampling.rule == "together":
        items = [views_of(item)[:1] or item for item in items]
    finer = upsampler.sample(items, upsampler.config.points, sampling, clouds, report)
    return np.concatenate([clouds, finer], axis=2)


def views_of(item: Given) -> Sequence[View]:
    """An image as a single view, views as they are."""
    if item is None or isinstance(item, str):
        return []
    return [View(item)] if isinstance(item, bytes) else item


def kind_of(item: Given) -> str | None:
    """What an item is, in the words of `Encoder.takes`."""
    return None if item is None else "text" if isinstance(item, str) else "image"
