"""`insideout push DATASET USER/NAME`: publish a dataset on the Hugging Face hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg

from pipeline.arguments import Dataset
from pipeline.terminal import show
from render.failures import UserError


@dataclass(frozen=True)
class Command:
    """Publish shards, card and curation on the Hugging Face hub, privately unless --public.

    Look at the card's licenses first: the models keep those of their authors.
    """

    dataset: Positional[Dataset]
    """The dataset folder."""
    repository: Positional[Annotated[str, arg(metavar="USER/NAME")]]
    """USER/NAME of the dataset repository; created if it is not there."""
    public: bool = False
    """Let everybody see it."""
    views: bool = False
    """The view bundles too, most of a dataset's bytes."""
    require_license: bool = False
    """Refuse if the license of a model is unknown."""
    dry_run: bool = False
    """Only say what would be published."""


def run(command: Command) -> int:
    """Say what there is, and publish it."""
    from fuse.dataset.layout import open_dataset
    from pipeline.output.card import shard_facts
    from pipeline.output.hub import publish, uploads

    layout = open_dataset(command.dataset)
    found = uploads(layout, command.views)
    licenses = shard_facts(layout).models_by_license()
    if command.require_license and "unknown" in licenses:
        raise UserError(
            f"{command.dataset}: {licenses['unknown']} models have no known license. "
            "Name them in the list's column `license`, or leave out --require-license."
        )
    size = sum(one.size for one in found) / 1e6
    show(f"push: {len(found)} files, {size:.1f} MB to {command.repository}")
    show(f"push: licenses: {', '.join(f'{n} {name}' for name, n in licenses.items())}")
    if command.dry_run:
        show(*(f"  {one.name}  {one.size}" for one in found), "push: nothing was sent (--dry-run)")
        return 0
    show(f"push: {publish(found, command.repository, not command.public, show)}")
    return 0
