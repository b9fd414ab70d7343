"""The command line: `insideout VERB`. A verb is the module of its name in `pipeline.commands`.

Nothing heavy is imported before a verb needs it. A person's mistake is one line and exit code 2; what else
stops a command is one line and exit code 1; Ctrl-C is 130.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import io
import os
import sys
from typing import Any

VERBS = {
    "doctor": "check that this machine can run everything, and say how to fix it",
    "samples": "make the embedded sample models",
    "catalog": "a collection's captions, categories and licenses -> a list of models for render",
    "render": "models -> view bundles, with Blender",
    "fuse": "view bundles -> colored point clouds in Parquet shards",
    "curate": "which models training sees, how often, and why",
    "status": "how a dataset's stages stand: counts, rate, what is left",
    "failures": "what failed, and why",
    "retry": "process failed models again",
    "train": "shards -> an image-conditioned point-cloud generator",
    "generate": "checkpoint and image -> colored point cloud",
    "segment": "pictures -> masks of what lies inside, from a trained segmenter",
    "layers": "pictures with cameras -> the surfaces along their rays, as a labeled cloud",
    "draw": "clouds of a dataset's objects from checkpoints, for mergers and upsamplers to learn from",
    "merge": "several clouds of one object -> one better cloud",
    "compose": "pictures of one object -> masks, a cloud each, merged, refined, cut open",
    "evaluate": "generate clouds of held-out objects and score them",
    "score": "scores of clouds against true clouds: files or folders",
    "view": "one model of a dataset in Rerun: cameras, layers, labeled points",
    "export": "one model of a dataset -> PLY, npz or NeRF folder",
    "export-model": "a checkpoint -> safetensors with a model card, for others",
    "sheet": "a contact sheet: lit view, depth, albedo and cloud of each model",
    "report": "a page to look at, OUT/report/index.html: gallery, models in 3D, failures, training runs",
    "push": "publish a dataset on the Hugging Face hub",
    "verify": "recompute every hash and check every row of a dataset",
    "submit": "run a verb on a Ray cluster as a job",
    "bench": "measure seconds per model, step by step",
    "completion": "a script that completes verbs and flags in bash, zsh or fish",
}
CONTINUED = {"render", "fuse", "retry", "curate", "train", "draw", "report", "push"}
"""The verbs that keep what an interrupted run has done; the others begin anew."""


def main(arguments: list[str] | None = None) -> None:
    """The console command: runs a verb and exits with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):  # names that the terminal's encoding lacks are escaped
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_main(arguments))


def usage() -> str:
    """What `insideout --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:{width}}  {text}" for name, text in VERBS.items())
    return (
        "usage: insideout VERB [flags]\n\n"
        "Folders of 3D models in, training data for point-cloud generators out, and a generator.\n\n"
        f"{verbs}\n\n"
        "`insideout VERB --help` lists its flags. --config sets them, by a YAML file or a recipe's name;\n"
        "flags override it.\n"
        "`insideout --version` prints the version."
    )


def module_of(verb: str) -> Any:
    """The module of a verb, with its `Command` and `run`."""
    return importlib.import_module(f"pipeline.commands.{verb.replace('-', '_')}")


def _main(arguments: list[str]) -> int:
    verb, rest = arguments[0] if arguments else "--help", arguments[1:]
    if verb == "help" and rest:
        verb, rest = rest[0], ["--help"]
    if verb in ("-h", "--help", "help"):
        print(usage())
        return 0
    if verb == "--version":
        from importlib.metadata import version

        print(f"insideout {version('insideout3d')}")
        return 0
    if verb in VERBS:
        return _run(verb, rest)
    near = difflib.get_close_matches(verb, VERBS, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return _complain(f"no verb {verb!r}.{hint} `insideout --help` lists them.", 2)


def _run(verb: str, arguments: list[str]) -> int:
    """Run a verb; an error with a message for people becomes one line."""
    from pipeline import extras
    from pipeline.errors import InfrastructureError, explain_os_error
    from render.failures import UserError

    try:
        module = module_of(verb)
        command = _command(verb, module, arguments)
        extras.require(verb)
        return module.run(command)
    except KeyboardInterrupt:
        continues = " The same command continues where this stopped." if verb in CONTINUED else ""
        return _complain(f"interrupted.{continues}", 130)
    except BrokenPipeError:  # `insideout ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        return _complain(str(error), 2)
    except InfrastructureError as error:
        return _complain(str(error), 1)
    except OSError as error:
        return _complain(explain_os_error(error), 1)
    except ModuleNotFoundError as error:
        if message := extras.explain(error):
            return _complain(message, 2)
        raise
    except Exception as error:  # object stores' clients have errors of their own
        from fuse.dataset.storage import is_fault

        if not is_fault(error):
            raise
        return _complain(f"{str(error).rstrip('.')}. For object stores, see docs/cluster.md, Storage.", 1)


def _command(verb: str, module: Any, arguments: list[str]) -> Any:
    """The verb's command. Of submit, the words from the first verb on are the job's."""
    from pipeline.arguments import parse, refuse_old_form, refuse_secrets

    if verb != "submit":
        return parse(module.Command, verb, arguments)
    at = next((index for index, word in enumerate(arguments) if word in VERBS), len(arguments))
    job = arguments[at:]
    refuse_secrets(job)
    if job:
        refuse_old_form(job[0], job[1:])
    return dataclasses.replace(parse(module.Command, verb, arguments[:at]), job=tuple(job))


def _complain(message: str, code: int) -> int:
    from pipeline.terminal import show

    show(f"insideout: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
