"""Ray, quietly: the cluster that RAY_ADDRESS names, or one of our own that leaves nothing behind."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

from pipeline.config import EngineConfig
from pipeline.errors import InfrastructureError

_START_LIMIT = 120  # seconds
_OBJECT_STORE = 80 << 20  # bytes, about Ray's least: only small records pass through it
_LONGEST_TEMP = 40  # characters: Ray's socket paths below it must stay under 108
_QUIET = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run`, Ray would rebuild the environment a worker
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a task without num_gpus must still show Blender the GPU
}


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def share_cores(engine: EngineConfig, available: int) -> tuple[int, int]:
    """(workers, threads a worker) out of `available` cores; at least one of each."""
    if engine.workers and not engine.threads:
        return engine.workers, max(1, available // engine.workers)
    threads = engine.threads or 1
    return engine.workers or max(1, available // threads), threads


@contextlib.contextmanager
def ray_session(engine: EngineConfig) -> Iterator[tuple[int, int]]:
    """Connect to Ray or start it; yields (workers, threads a worker). One that is open already stays open."""
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    import ray

    if ray.is_initialized():
        yield share_cores(engine, int(ray.cluster_resources().get("CPU", 1)))
    elif os.environ.get("RAY_ADDRESS"):
        with _bounded_start():
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield share_cores(engine, int(ray.cluster_resources().get("CPU", 1)))
        finally:
            ray.shutdown()
    else:
        with _local(*share_cores(engine, cores())) as shares:
            yield shares


@contextlib.contextmanager
def _local(workers: int, threads: int) -> Iterator[tuple[int, int]]:
    """Our own Ray: no dashboard, loopback only, its sessions in a folder that goes when it goes."""
    import ray

    os.environ.setdefault(
        "RAY_AUTH_MODE", "disabled"
    )  # nobody else reaches it, and tokens would stay in HOME
    folder = Path(tempfile.mkdtemp(prefix="insideout-ray-", dir=_short_temp()))
    try:
        with _bounded_start():
            ray.init(
                num_cpus=workers * threads,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder),
                _node_ip_address="127.0.0.1",
            )
        yield workers, threads
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _short_temp() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _LONGEST_TEMP else "/tmp"


@contextlib.contextmanager
def _bounded_start() -> Iterator[None]:
    """Turn any failure to start, and a start that takes for ever, into one clear error."""
    where = os.environ.get("RAY_ADDRESS") or "on this machine"
    # Ray waits in native code, where no exception of ours arrives: only the end of the process does.
    watchdog = threading.Timer(_START_LIMIT, _give_up, [where])
    watchdog.daemon = True
    try:
        _knock(os.environ.get("RAY_ADDRESS") or "")
        watchdog.start()
        yield
    except (OSError, RuntimeError, ValueError) as error:
        summary = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InfrastructureError(
            f"Ray did not start ({where}): {summary}. Try `insideout doctor`."
        ) from error
    finally:
        watchdog.cancel()


def _knock(address: str) -> None:
    """Whether anybody listens at HOST:PORT; OSError if not. Ray itself would take minutes to say so."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), timeout=10):
            pass


def _give_up(where: str) -> None:
    print(f"Ray did not start ({where}) within {_START_LIMIT} s. Try `insideout doctor`.", file=sys.stderr)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(1)
