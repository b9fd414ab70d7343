"""`insideout completion SHELL`: verbs, flags and their choices at the press of Tab.

bash   insideout completion bash > ~/.insideout.bash && echo '. ~/.insideout.bash' >> ~/.bashrc
zsh    insideout completion zsh > "${fpath[1]}/_insideout"
fish   insideout completion fish > ~/.config/fish/completions/insideout.fish
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro
from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, subcommand

Shell = Literal["bash", "zsh", "fish"]
_SPEC = re.compile(r"^COMPLETION_SPEC = .*$", re.MULTILINE)
_FILES = "__TYRO_COMPLETE_FILES__"
_NONE = (f'[[ "$completions" == "{_FILES}"', f'[[ -z "$completions" || "$completions" == "{_FILES}"')
_OR_FILES = {  # tyro's scripts complete the files of flags; with these changes also those of positionals
    "bash": (
        _NONE,
        ('COMPREPLY=($(compgen -f -- "$cur"))', "COMPREPLY=()"),
        ("complete -F", "complete -o default -F"),
    ),
    "zsh": (_NONE,),
    "fish": (("complete --no-files", "complete"),),
}


@dataclass(frozen=True)
class Command:
    """Print a script that completes verbs and flags in bash, zsh or fish.

    bash: `insideout completion bash > ~/.insideout.bash && echo '. ~/.insideout.bash' >> ~/.bashrc`;
    zsh: `insideout completion zsh > "${fpath[1]}/_insideout"`;
    fish: `insideout completion fish > ~/.config/fish/completions/insideout.fish`.
    """

    shell: Positional[Shell]
    """The shell that reads the script."""


def run(command: Command) -> int:
    """Print the script."""
    print(script(command.shell))
    return 0


def script(shell: Shell) -> str:
    """The script, which tyro makes from every verb's `Command`."""
    from pipeline.cli import VERBS, module_of

    verbs = [
        Annotated[module_of(name).Command, subcommand(name, description=text)] for name, text in VERBS.items()
    ]
    every: Any = OmitSubcommandPrefixes[OmitArgPrefixes[Union[tuple(verbs)]]]  # noqa: UP007
    with tempfile.TemporaryDirectory(prefix="insideout-completion-") as folder:
        path = Path(folder, "script")
        with contextlib.suppress(SystemExit):
            tyro.cli(every, prog="insideout", args=["--tyro-write-completion", shell, str(path)])
        text = _SPEC.sub(_in_one_line, path.read_text())
    for old, new in _OR_FILES[shell]:
        text = text.replace(old, new)
    return text


def _in_one_line(spec: re.Match[str]) -> str:
    """Descriptions without line ends, each of which would be offered as a completion of its own."""
    return re.sub(r"\\\\?n", " ", spec[0])
