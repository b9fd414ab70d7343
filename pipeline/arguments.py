"""From words to a verb's command: flags over `--config` over defaults. A mistake is a UserError of one line.

A command is a frozen dataclass: its fields are the positionals and flags, their docstrings the help. A field
whose default is a stage's configuration becomes one flag per field of it.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import tyro
from pydantic import BaseModel, ValidationError
from tyro import _errors as failures  # its hook is not public yet, so pyproject.toml pins tyro
from tyro.conf import DisallowNone, OmitArgPrefixes, OmitSubcommandPrefixes, arg
from tyro.constructors import PrimitiveConstructorSpec

from fuse.dataset import storage
from pipeline.config import explain
from render.failures import UserError

Command = TypeVar("Command")


def _place(metavar: str) -> Any:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: storage.locate(words[0]),
        is_instance=lambda value: hasattr(value, "joinpath"),
        str_from_instance=lambda value: [str(value)],
    )


Models = Annotated[Path, _place("MODELS")]
"""A path, or a place in an object store: s3://bucket/folder."""
Dataset = Annotated[Path, _place("DATASET")]
"""A dataset folder: a path, or a place in an object store."""
ConfigFile = DisallowNone[Path | None]
"""A YAML file or the name of a recipe; not giving it is None."""
Uid = Annotated[str, arg(metavar="UID")]
"""A model of a dataset, by its uid or its source path."""

_POSITIONS = {
    "render": ("--models", "--out"),
    "fuse": ("--out",),
    "train": ("--out",),
    "evaluate": ("--out",),
}
_RENAMED = {"generate": {"--out": "--to"}, "train": {"--failures": "--max-failures"}}
_UNFIT = re.compile(
    r"(?:invalid literal for int\(\) with base 10:|could not convert string to float:"
    r"|no type matching .* could be instantiated from|Could not find valid parse for arguments:) (.*)"
)
"""Python's and tyro's messages about words of another type; the words are its group."""
_TYPES = {"INT": "a whole number", "FLOAT": "a number"}


def parse(kind: type[Command], verb: str, arguments: list[str]) -> Command:
    """The verb's command. UserError for a mistake; --help prints the help and exits."""
    refuse_secrets(arguments)
    refuse_old_form(verb, arguments)
    wrapped: Any = OmitSubcommandPrefixes[OmitArgPrefixes[kind]]
    path = _config_argument(arguments)
    default: dict[str, Any] = {"default": _defaults(kind, path)} if path else {}

    def refuse(event: failures.ParseErrorEvent) -> None:  # where it returns, tyro prints a message of its own
        if message := _message(kind, event):
            raise UserError(f"{verb}: {message} See `insideout {verb} --help`.")

    with failures.on_parse_error(refuse):
        return tyro.cli(wrapped, prog=f"insideout {verb}", args=arguments, **default)


def refuse_secrets(arguments: list[str]) -> None:
    """StorageError if a URI among the words carries credentials, before anything repeats or stores it."""
    for word in arguments:
        flag, _, value = word.partition("=")
        storage.check(value if flag.startswith("--") else word)


def refuse_old_form(verb: str, arguments: list[str]) -> None:
    """UserError that shows the command in the present form, where it is in that of version 0.1."""
    moved, renamed = _POSITIONS.get(verb, ()), _RENAMED.get(verb, {})
    values: dict[str, str] = {}
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in moved:
            values[flag] = value if equals else next(words, "")
        else:
            rest.append(renamed.get(flag, flag) + equals + value)
    old = [word for word in arguments if word.partition("=")[0] in (*moved, *renamed)]
    if old:
        names = [
            values.get(flag) or flag.removeprefix("--").upper().replace("OUT", "DATASET") for flag in moved
        ]
        now = shlex.join(["insideout", verb, *names, *rest])
        raise UserError(f"{old[0].partition('=')[0]} is no longer a flag of {verb}. Write: {now}")


def _message(kind: type[Any], event: failures.ParseErrorEvent) -> str | None:
    """A refusal in one line; None for a kind of refusal that is unknown here."""
    if isinstance(event, failures.MissingArgs):
        unknown = f", and has no {' '.join(event.unrecognized_tokens)}" if event.unrecognized_tokens else ""
        *most, last = (_name(argument.arg) for argument in event.missing_arguments)
        names = f"{', '.join(most)} and {last}" if most else last
        return f"needs {names}{unknown}."
    if isinstance(event, failures.UnrecognizedArgs):
        return f"has no {' '.join(event.tokens)}.{_near(event.tokens[0], _flags(kind))}"
    if isinstance(event, failures.InvalidChoice):
        metavar = event.argument.lowered.metavar or ""
        known = ", ".join(sorted((name for name in event.choices if name in metavar), key=metavar.find))
        near = _near(event.value, event.choices)
        return f"{_name(event.argument)} is one of {known}, not {event.value!r}.{near}"
    if isinstance(event, failures.BadValue):
        name = _name(event.argument)
        return f"{name} needs a value." if name.startswith("-") else f"needs {name}."
    if isinstance(event, failures.InstantiationFailure):
        cause = getattr(sys.exception(), "__context__", None)
        if isinstance(cause, ValidationError):
            return f"{explain(cause, BaseModel, _flag)}."
        message = event.message.partition("\n")[0].rstrip(".")
        if event.argument and (unfit := _UNFIT.match(message)):
            return f"{_name(event.argument)} needs {_type(event.argument)}, not {unfit[1].strip('[]')}."
        return f"{_name(event.argument)}: {message}." if event.argument else f"{message}."
    return None


def _type(argument: Any) -> str:
    """What an argument's value is: `a number`, or, of other types, as the help has it."""
    metavar: str = argument.lowered.metavar.removeprefix("{None}|").strip("{}")
    one = re.fullmatch(r"\[?(\w+)(?: \[\1 \.\.\.\]\])?", metavar)
    return _TYPES.get(one[1], metavar) if one else metavar


def _name(argument: Any) -> str:
    name = argument.display_name()
    return name if name.startswith("-") else name.upper()


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean {near[0]}?" if near else ""


def _flags(kind: type[Any]) -> list[str]:
    """Every flag of a command."""
    names = []
    for field in dataclasses.fields(kind):
        names += type(field.default).model_fields if isinstance(field.default, BaseModel) else [field.name]
    return [_flag(name) for name in names]


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _defaults(kind: type[Command], path: Path) -> Command:
    """What a command starts from: the sections of the file that --config names, and its own defaults."""
    from pipeline.run_config import load

    run = load(path)
    sections = {type(section): section for section in (run.render, run.fuse, run.train, run.engine)}
    values: dict[str, Any] = {"config": path}
    for field in dataclasses.fields(cast(Any, kind)):
        if field.name not in values:
            default = tyro.MISSING if field.default is dataclasses.MISSING else field.default
            values[field.name] = sections.get(type(default), default)
    return kind(**values)


def _config_argument(arguments: list[str]) -> Path | None:
    """The file or recipe that --config names; None without the flag, and where its value is missing."""
    for flag, following in zip(arguments, [*arguments[1:], ""], strict=False):
        name, equals, value = flag.partition("=")
        if name == "--config":
            value = value if equals else following
            return None if not value or value.startswith("--") else Path(value)
    return None
