"""A dataset published as a repository of the Hugging Face hub: what goes there, and how.

Shards, card, Croissant, curation, and views if asked for. Never ledgers, whose logs and paths are of the
machine that rendered, nor checkpoints, nor anything unfinished. The token is the library's own business
(`HF_TOKEN`, or `hf auth login`): it is no argument, and no message has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuse.dataset import storage
from fuse.dataset.layout import Layout
from fuse.dataset.manifest import read_manifest
from render.failures import UserError

_COMMIT = 64  # files per commit


@dataclass(frozen=True)
class Upload:
    """A file, and its name in the repository."""

    path: Path
    name: str
    size: int


def uploads(layout: Layout, views: bool = False) -> list[Upload]:
    """What a repository of the dataset holds; the card, which says what is there, comes last.

    UserError where there are no shards, or the dataset lies in an object store.
    """
    if not storage.is_local(layout.root):
        raise UserError(f"{layout.root}: not a local folder. Copy the dataset here first.")
    parts = read_manifest(layout.clouds)
    if not parts:
        raise UserError(f"{layout.root}: no shards to publish. Run `insideout fuse` first.")
    paths = [layout.shard(part.file) for part in parts]
    paths += sorted(layout.bundle(uid) for uid, _ in layout.bundles()) if views else []
    sheets = layout.cluster_sheet(0).parent
    paths += [sheets / entry.name for entry in sorted(storage.listing(sheets))]
    paths += [layout.decisions, layout.rules, layout.manifest, layout.dataset, layout.contact_sheet]
    paths += [layout.croissant, layout.card]
    return [_upload(layout, path) for path in paths if path.is_file()]


def _upload(layout: Layout, path: Path) -> Upload:
    return Upload(path, path.relative_to(layout.root).as_posix(), path.stat().st_size)


def publish(found: list[Upload], repository: str, private: bool, say: Callable[[str], None]) -> str:
    """Create the repository if it is not there, and commit the files to it. Returns its address.

    Files that it has already are not sent again. UserError where the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    hub = HfApi()
    try:
        address = hub.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        for number, some in enumerate(_commits(found), start=1):
            added: list[Any] = [CommitOperationAdd(one.name, one.path) for one in some]
            message = f"InsideOut dataset, part {number}"
            hub.create_commit(repository, added, commit_message=message, repo_type="dataset")
            say(f"push: {min(number * _COMMIT, len(found))}/{len(found)} files")
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(
            f"{repository}: the hub refused ({reason}). Log in with `hf auth login`, or set HF_TOKEN; the "
            "same command continues."
        ) from None
    return str(address)


def _commits(found: list[Upload]) -> Iterator[list[Upload]]:
    for at in range(0, len(found), _COMMIT):
        yield found[at : at + _COMMIT]
