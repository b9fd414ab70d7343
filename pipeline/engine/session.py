"""Ray, quietly: the cluster that RAY_ADDRESS names, or a local one that leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import resource
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from pipeline.config import EngineConfig
from pipeline.errors import InfrastructureError
from pipeline.sandbox.watchdog import MARK, Watchdog, claim, clear, is_own_folder
from render.failures import UserError

_START_LIMIT = 120  # seconds
_FILES = 4096  # open at once, for a machine of many cores
_LEAST_FILES = 1024
_OBJECT_STORE = 80 << 20  # bytes, about Ray's least: only small records pass through it
_FOLDER = "insideout-ray-"
_GONE = "insideout: the driver was killed. Its processes are ended; run the same command again to continue."
_RAYS = "ray::"  # how the titles of Ray's processes begin
_LOCKED_WITHIN = 3.0  # seconds in which a new folder gets its lock
_LOOK_EVERY = 3.0  # seconds between queries of the cluster's size
_DEMAND = 16  # waiting tasks that make an autoscaler start nodes, even where there is no worker yet
_LONGEST_TEMP = 40  # characters: Ray's socket paths below it must stay under 108
_EXTRAS = ("start_monitor", "start_log_monitor", "start_api_server")
_QUIET = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # under `uv run`, Ray would rebuild the environment for each worker
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a task without num_gpus must still show Blender the GPU
}

# In the main thread, Ray would handle SIGTERM itself, and raise SystemExit wherever we are. What it starts
# dies with the thread that started it (PR_SET_PDEATHSIG): this thread stays.
_ray_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ray")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def share_cores(engine: EngineConfig, available: int) -> tuple[int, int]:
    """(workers, threads per worker) for `available` cores; at least one of each."""
    if engine.workers and not engine.threads:
        return engine.workers, max(1, available // engine.workers)
    threads = engine.threads or 1
    return engine.workers or max(1, available // threads), threads


@dataclass
class Session:
    """Ray as a run sees it: how many workers it offers now, and whether it still runs."""

    engine: EngineConfig
    threads: int  # cores a worker uses
    servers: dict[str, psutil.Process] = field(default_factory=dict)  # of the Ray that we started
    cluster: bool = False  # somebody else's Ray, which may grow and shrink
    _workers: int = 0
    _looked: float = float("-inf")

    @property
    def workers(self) -> int:
        """Models that can be in work at once; queried again every few seconds, because nodes come and go."""
        import ray

        if time.monotonic() - self._looked > _LOOK_EVERY:
            self._workers = int(ray.cluster_resources().get("CPU", 0)) // self.threads
            self._looked = time.monotonic()
        return self._workers

    def window(self) -> int:
        """Tasks to hold in flight: one waiting per running one, so that no worker idles between two models.

        On a cluster more wait, because an autoscaler starts nodes for waiting tasks. `--workers` caps what
        runs.
        """
        most, workers = self.engine.workers, self.workers
        if 0 < most < workers:
            return most
        window = workers + max(workers, _DEMAND if self.cluster else 1)
        return min(window, 2 * most) if most else window

    def lost(self) -> str | None:
        """Which part of the Ray that we started has died; None while it runs."""
        names = [name for name, process in self.servers.items() if not _runs(process)]
        return f"Ray's {' and '.join(names)} on this machine died." if names else None

    def too_small(self) -> bool:
        """Whether no node has the cores that a worker needs: the tasks then wait for one that has."""
        import ray

        available = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
        return self.threads > max(available, default=0)


@contextlib.contextmanager
def ray_session(engine: EngineConfig) -> Iterator[Session]:
    """Connect to Ray or start it. A connection that is already open stays open."""
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    _require_files()
    import ray

    if ray.is_initialized():
        yield _connected(engine)
    elif os.environ.get("RAY_ADDRESS"):
        with _bounded_start():
            _start()
        try:
            yield _connected(engine)
        finally:
            _shut_down()
    else:
        with _local(engine) as session:
            yield session


def _require_files() -> None:
    """Raise the limit on open files as far as this user may. UserError where that is too few for Ray."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = float("inf") if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        soft = int(min(_FILES, allowed))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < _LEAST_FILES:
            raise UserError(
                f"Only {soft} files may be open at once here; Ray needs {_LEAST_FILES}. Raise the limit: "
                f"ulimit -n {_FILES}"
            )


def _connected(engine: EngineConfig) -> Session:
    import ray

    _, threads = share_cores(engine, int(ray.cluster_resources().get("CPU", 1)))
    return Session(engine, threads, cluster=True)


@contextlib.contextmanager
def _local(engine: EngineConfig) -> Iterator[Session]:
    """A local Ray: no dashboard, loopback only. It ends with this process, even if that is killed."""
    workers, threads = share_cores(engine, cores())
    with _own_folders() as (folder, scratch):
        try:
            with _bounded_start(), _environment(folder, scratch), _without_extras():
                _start(
                    num_cpus=workers * threads,
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE,
                    _temp_dir=str(folder),
                    _node_ip_address="127.0.0.1",
                )
            yield Session(engine, threads, _servers())
        finally:
            _shut_down()


@contextlib.contextmanager
def _own_folders() -> Iterator[tuple[Path, Path]]:
    """(Ray's folder, the workers' temporary folder), often the same; a watchdog removes both."""
    _clear_the_dead()
    name = f"{_FOLDER}{uuid.uuid4().hex[:8]}"
    folder, scratch = Path(_short_temp(), name), Path(tempfile.gettempdir(), name)
    watchdog = Watchdog(f"{MARK}={folder}", [folder, scratch], _GONE)  # before there is anything to clear
    try:
        for own in {folder, scratch}:
            claim(own)
        with _locked(folder, wait=True):  # another run may be looking whether it is held
            yield folder, scratch
    finally:
        watchdog.close()


def _clear_the_dead() -> None:
    """Remove what is left of sessions whose driver and watchdog were both killed: nobody holds the lock.

    That a process writes into such a folder proves nothing: it must carry the session's mark, or be one of
    Ray's.
    """
    dead = [folder for folder in Path(_short_temp()).glob(f"{_FOLDER}*") if _is_dead(folder)]
    if any(_is_young(folder) for folder in dead):
        time.sleep(_LOCKED_WITHIN)
    for folder in dead:
        with contextlib.suppress(OSError), _locked(folder):
            folders = [folder, Path(tempfile.gettempdir(), folder.name)]
            clear(f"{MARK}={folder}", folders, title=_RAYS)


def _is_dead(folder: Path) -> bool:
    """Whether this is a session's folder that nobody holds, or not yet."""
    try:
        with _locked(folder):
            return is_own_folder(folder)
    except OSError:  # locked, just removed, a link, or another user's
        return False


def _is_young(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return time.time() - folder.stat().st_mtime < _LOCKED_WITHIN
    return False


@contextlib.contextmanager
def _locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock on the folder, which ends with the process. Held by another: wait, or OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _without_extras() -> Iterator[None]:
    """Ray starts no autoscaler, log forwarder and dashboard, which nobody asks: half of the CPU time of its
    start, and 280 MB.

    Ray has no switch for that (2.60); a release that names them otherwise starts them.
    """
    from ray._private.node import Node

    before = {name: getattr(Node, name) for name in _EXTRAS if hasattr(Node, name)}
    for name in before:
        setattr(Node, name, _left_out)
    try:
        yield
    finally:
        for name, method in before.items():
            setattr(Node, name, method)


def _left_out(node: Any, **_: Any) -> None:
    node._webui_url = None  # which the dashboard's start would set


@contextlib.contextmanager
def _environment(folder: Path, scratch: Path) -> Iterator[None]:
    """The variables that Ray's processes, and the workers below them, inherit from us."""
    ours = {"TMPDIR": str(scratch), MARK: str(folder)}
    before = {name: os.environ.get(name) for name in ours}
    # Nobody else can reach this Ray, and tokens would stay in HOME.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _servers() -> dict[str, psutil.Process]:
    """The processes that this machine's Ray cannot do without."""
    below = {process.name(): process for process in psutil.Process().children(recursive=True)}
    return {name: below[name] for name in ("gcs_server", "raylet") if name in below}


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _short_temp() -> str:
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _LONGEST_TEMP else "/tmp"


def _start(**how: Any) -> None:
    """`ray.init`, silently."""
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    _apart(lambda: ray.init(log_to_driver=False, logging_level=logging.ERROR, **how))


def _shut_down() -> None:
    import ray

    _apart(ray.shutdown)


def _apart(work: Callable[[], object]) -> None:
    """Run it in Ray's thread, to its end even after a Ctrl-C: half a start or shutdown leaves files."""
    doing = _ray_thread.submit(work)
    try:
        doing.result()
    finally:
        wait([doing])


@contextlib.contextmanager
def _bounded_start() -> Iterator[None]:
    """Turn any failure to start, and a start that never ends, into one clear error."""
    where = os.environ.get("RAY_ADDRESS") or "on this machine"
    # Ray waits in native code, which no exception interrupts: only the end of the process does.
    watchdog = threading.Timer(_START_LIMIT, _give_up, [where])
    watchdog.daemon = True
    try:
        _knock(os.environ.get("RAY_ADDRESS") or "")
        watchdog.start()
        yield
    except Exception as error:  # Ray raises exceptions of no class of its own, too
        summary = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise InfrastructureError(
            f"Ray did not start ({where}): {summary}. Try `insideout doctor`."
        ) from error
    finally:
        watchdog.cancel()


def _knock(address: str) -> None:
    """OSError if nobody listens at HOST:PORT. Ray itself would take minutes to report it."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), timeout=10):
            pass


def _give_up(where: str) -> None:
    print(f"Ray did not start ({where}) within {_START_LIMIT} s. Try `insideout doctor`.", file=sys.stderr)
    os._exit(1)  # the watchdog ends what Ray has started
