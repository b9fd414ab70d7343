"""A verb run on a Ray cluster as a job: ship the code, follow the log, exit with the job's exit code.

    insideout submit --address http://HEAD:8265 render /shared/models /shared/dataset

The job's state is queried, never guessed from its log: Ray's log stream may end before the job does
(ray #57002, #60665). Losing the connection or Ctrl-C leaves the job running; `--attach ID` follows it again.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tyro.conf import DisallowNone, Fixed, SuppressFixed

from pipeline.errors import InfrastructureError
from pipeline.terminal import show
from render.failures import UserError

ROOT = Path(__file__).resolve().parents[2]
_POLL = 2.0  # seconds
_SLOWEST_POLL = 60.0
_BYTES_PER_SECOND = 500_000  # the log comes whole every time: a long one is fetched less often
_PATIENCE = 300.0  # seconds for which the head may be unreachable
_STOP_LIMIT = 90.0
_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or Ray would rebuild the environment on each worker
    "RAY_JOB_STOP_WAIT_TIME_S": "60",  # a stopped run closes its ledger and its children first
    "PYTHONUNBUFFERED": "1",
}
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Command:
    """Run a verb on a Ray cluster as a job: `insideout submit --address URL render MODELS DATASET`.

    Follows the job's log and exits with its exit code. Ctrl-C leaves the job running. See docs/cluster.md.
    """

    address: str
    """The Ray dashboard's address, http://HEAD:8265."""
    ship: bool = True
    """Ship this checkout's code; otherwise the cluster's own InsideOut runs."""
    wait: bool = True
    """Follow the job until it ends."""
    attach: DisallowNone[str | None] = None
    """Follow a job that was submitted before, by its id."""
    stop: DisallowNone[str | None] = None
    """Stop a job, by its id."""
    job: Fixed[SuppressFixed[tuple[str, ...]]] = ()
    """The verb and its flags."""


def run(command: Command) -> int:
    """Submit, follow or stop a job; the exit code is the job's."""
    if bool(command.job) + bool(command.attach) + bool(command.stop) != 1:
        raise UserError("submit takes one of: a verb with its flags, --attach ID, --stop ID.")
    cluster = Cluster(command.address)
    if command.stop:
        return cluster.stop(command.stop)
    job = command.attach or cluster.submit(command.job, command.ship)
    again = f"insideout submit --address {command.address}"
    show(f"job {job}", f"  {again} --attach {job}", f"  {again} --stop {job}", file=sys.stderr)
    if not command.wait:
        return 0
    try:
        return cluster.follow(job)
    except KeyboardInterrupt:
        show("", f"No longer following; job {job} continues.", file=sys.stderr)
        return 130


class Cluster:
    """The jobs of the cluster at `address`; calls are repeated while the head is unreachable."""

    def __init__(self, address: str, patience: float = _PATIENCE):
        os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        if "://" not in address:
            raise UserError(f"--address {address}: expected http://HEAD:8265, where the dashboard listens.")
        self.address, self.patience = address, patience
        try:
            self._client = JobSubmissionClient(address)
        except AuthenticationError as error:
            raise UserError(
                f"{address} refuses access: {_first_line(error)}. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
                "to the cluster's token, or put it into ~/.ray/auth_token (docs/cluster.md)."
            ) from error
        except (OSError, RuntimeError, ValueError) as error:
            raise InfrastructureError(
                f"{address}: no Ray dashboard answers ({_first_line(error)}). Is it the head's port 8265, "
                "and can it be reached from here (docs/cluster.md)?"
            ) from error

    def submit(self, arguments: Sequence[str], ship: bool) -> str:
        """Start `insideout ARGUMENTS` on the cluster, with this checkout's code if `ship`; the job's id."""
        program = "python -m pipeline.cli" if ship else "insideout"
        runtime: dict[str, Any] = {"env_vars": _ENVIRONMENT}
        if ship:
            if not (ROOT / "pyproject.toml").is_file():
                raise UserError(f"{ROOT} is not a checkout, so there is no code to ship. Give --no-ship.")
            runtime["working_dir"] = str(ROOT)  # .gitignore and .rayignore say what stays behind
        try:
            return self._client.submit_job(
                entrypoint=f"{program} {shlex.join(arguments)}", runtime_env=runtime
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise InfrastructureError(
                f"{self.address}: the job was not accepted: {error} (docs/cluster.md, Tokens)"
            ) from error

    def follow(self, job: str) -> int:
        """Print the job's log as it grows until the job ends; its exit code (130 if it was stopped)."""
        shown = 0
        while True:
            ended = self._info(job).status.is_terminal()  # asked before the log, so that none is missed
            log = self.log(job)
            sys.stdout.write(log[shown:])
            sys.stdout.flush()
            shown = len(log)
            if ended:
                return self._verdict(job)
            time.sleep(min(_SLOWEST_POLL, _POLL + shown / _BYTES_PER_SECOND))

    def log(self, job: str) -> str:
        """What the job has printed so far."""
        return self._ask(lambda: self._client.get_job_logs(job))

    def stop(self, job: str) -> int:
        """Ask the job to stop, and wait until it has; 0 if it had ended."""
        self._info(job)
        self._ask(lambda: self._client.stop_job(job))
        deadline = time.monotonic() + _STOP_LIMIT
        while not (status := self._info(job).status).is_terminal():
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"job {job} is still {status} {_STOP_LIMIT:.0f} s after the stop. Try again, or end it "
                    "in the dashboard."
                )
            time.sleep(0.5)
        show(f"job {job}: {status}", file=sys.stderr)
        return 0

    def _verdict(self, job: str) -> int:
        """The job's exit code, and a line that says how it ended."""
        info = self._info(job)
        status = str(info.status)
        code = {"SUCCEEDED": 0, "STOPPED": 130}.get(status, info.driver_exit_code or 1)
        reason = f": {(info.message or '').strip()}" if status == "FAILED" else ""
        show(f"job {job}: {status} (exit code {code}){reason}", file=sys.stderr)
        return code if 0 <= code <= 255 else 1

    def _info(self, job: str) -> Any:
        return self._ask(lambda: self._client.get_job_info(job))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask the head until it answers or patience ends; an unknown job is an error at once."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return question()
            except (OSError, RuntimeError) as error:
                if "does not exist" in str(error):
                    raise UserError(f"{self.address}: {_first_line(error)}. See its list of jobs.") from error
                if time.monotonic() > deadline:
                    raise InfrastructureError(
                        f"{self.address} is unreachable ({_first_line(error)}). The job may still run: "
                        "follow it with --attach ID."
                    ) from error
                time.sleep(_POLL)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
