"""The command line: `insideout VERB`, a function a verb. `insideout VERB --help` names every flag.

Nothing heavy is imported before a verb needs it. A person's mistake is one line and exit code 2.
"""

from __future__ import annotations

import difflib
import os
import sys
import traceback

VERBS = {
    "doctor": "check that this machine can run everything, and how to mend it",
    "samples": "make the embedded sample models",
    "render": "models -> view bundles, with Blender",
    "fuse": "view bundles -> colored point clouds in Parquet shards",
    "status": "how a dataset's stages stand: counts, rate, what is left",
    "failures": "what failed, and why",
    "retry": "do what failed again",
    "train": "shards -> an image-conditioned point-cloud generator",
    "generate": "checkpoint and image -> colored point cloud",
    "evaluate": "does a drawn cloud resemble its object? Chamfer distances to all",
    "export": "one model of a dataset -> PLY, npz or NeRF folder",
    "sheet": "a contact sheet: lit view, depth, albedo and cloud of each model",
    "verify": "recompute every hash and check every row of a dataset",
    "submit": "run a verb on a Ray cluster as a job",
    "bench": "measure seconds a model, per step",
}
_OURS = ("pipeline", "render", "fuse", "training")


def main(arguments: list[str] | None = None) -> None:
    """The console command: runs a verb and exits with its code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0)
    verb, rest = arguments[0].replace("-", "_"), arguments[1:]
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        sys.exit(_complain(f"no verb {verb!r}.{hint} `insideout --help` lists them.", 2))
    sys.exit(_run(verb, rest))


def usage() -> str:
    """What `insideout --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {name:{width}}  {text}" for name, text in VERBS.items())
    return (
        "usage: insideout VERB [flags]\n\n"
        "Folders of 3D models in, training data for point-cloud generators out, and a generator.\n\n"
        f"{verbs}\n\n"
        "`insideout VERB --help` names the flags. --config FILE.yaml sets them; flags override it."
    )


def _run(verb: str, arguments: list[str]) -> int:
    """Run a verb; errors with a message for people become one line."""
    from pipeline.errors import InfrastructureError, explain_os_error
    from render.failures import UserError

    try:
        from pipeline import operations, verbs

        return getattr(operations if hasattr(operations, verb) else verbs, verb)(arguments)
    except KeyboardInterrupt:
        return _complain("interrupted. The same command goes on where this stopped.", 130)
    except BrokenPipeError:  # `insideout ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UserError as error:
        return _complain(str(error), 2)
    except InfrastructureError as error:
        return _complain(str(error), 1)
    except ValueError as error:
        if not _raised_by_us(error):
            raise
        return _complain(str(error), 2)
    except OSError as error:
        return _complain(explain_os_error(error), 1)
    except Exception as error:  # object stores' clients have errors of their own
        from fuse.dataset.storage import is_fault

        if not is_fault(error):
            raise
        return _complain(str(error), 1)


def _raised_by_us(error: ValueError) -> bool:
    """Our own modules raise ValueErrors with messages for people; anybody else's are bugs."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").split(".")[0] in _OURS


def _complain(message: str, code: int) -> int:
    print(f"insideout: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
