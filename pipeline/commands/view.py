"""`insideout view DATASET UID`: one model in Rerun's viewer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import DisallowNone, Positional

from pipeline.arguments import Dataset, Uid
from pipeline.terminal import show
from render.failures import UserError, at_least


@dataclass(frozen=True)
class Command:
    """Show one model in Rerun: cameras, images, depth, hidden layers, and points by label."""

    dataset: Positional[Dataset]
    """The dataset folder."""
    uid: Positional[Uid]
    """The model's uid, or its source path."""
    to: DisallowNone[Path | None] = None
    """FILE.rrd to write instead of opening the viewer, for example on a machine without a screen."""
    views: int = 0
    """Number of views, the first ones; 0: all."""

    def __post_init__(self) -> None:
        at_least("views", self.views, 0)


def run(command: Command) -> int:
    """Show it, and print what is shown."""
    from fuse.export import rerun_scene

    if command.to and command.to.suffix != ".rrd":
        raise UserError(f"{command.to}: name a file that ends in .rrd.")
    row = rerun_scene.show(command.dataset, command.uid, command.to, command.views)
    where = f"{command.to} (open it with `rerun {command.to}`)" if command.to else "the viewer"
    show(f"view: {row['uid']} in {where}")
    return 0
