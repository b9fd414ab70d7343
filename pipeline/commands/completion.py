"""`insideout completion SHELL`: verbs and flags at the press of Tab.

bash   insideout completion bash >> ~/.bashrc
zsh    insideout completion zsh > "${fpath[1]}/_insideout"
fish   insideout completion fish > ~/.config/fish/completions/insideout.fish
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand


@dataclass(frozen=True)
class Command:
    """Print a script that completes verbs and flags in bash, zsh or fish."""

    shell: Positional[Literal["bash", "zsh", "fish"]]
    """The shell that reads the script."""


def run(command: Command) -> int:
    """Print the script, which tyro writes from every verb's `Command`."""
    from pipeline.cli import VERBS, module_of

    verbs = [
        Annotated[module_of(name).Command, subcommand(name, description=text)] for name, text in VERBS.items()
    ]
    every: Any = OmitSubcommandPrefixes[OmitArgPrefixes[Union[tuple(verbs)]]]  # noqa: UP007, made at run time
    tyro.cli(every, prog="insideout", args=["--tyro-write-completion", command.shell, "-"])
    return 0
