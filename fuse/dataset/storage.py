"""Where files live: the one module that tells a local path from an object in a store.

    out = locate("s3://bucket/dataset")     # or locate("/data/dataset")
    for entry in listing(out / "views"): ...
    publish(Path("/tmp/part.parquet"), out / "clouds" / "part-00000.parquet")

A remote place is a UPath: pathlib's interface over fsspec, so `/`, `open`, `exists` and `name` work
everywhere. The differences are here: how a file becomes visible as a whole (rename, or one PUT), how a
million files are listed, and what a URI may contain. Credentials come from the environment (or the machine's
role) and are refused in URIs: a URI goes into ledgers, logs and dataset.json.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

from fuse.dataset.ownership import unfinished
from render.failures import UserError
from render.files import open_file as open_local

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_COPY = 1 << 20  # bytes at a time
_MOST = 1 << 28  # bytes of a file that is read whole
_PATTERN = re.compile(r"[*?[]")
"""In a name: what fsspec's `rm` takes for a pattern, and would remove all that it fits."""
_THREADS = 16  # requests in flight; a store answers one in 10 to 100 ms
_INSTALL = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
_CLIENTS = {"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google"}
Answer = TypeVar("Answer")


class StorageError(UserError):
    """A place that cannot be used; the message names it, without its secrets, and the remedy."""


class Entry(NamedTuple):
    """A file as its store lists it."""

    name: str  # relative to the folder that was listed, with slashes
    size: int  # bytes
    mtime_ns: int


def locate(where: str | Path) -> Path:
    """A path, or a UPath where `where` is a URI. StorageError if the URI is unusable or carries a secret."""
    if not isinstance(where, str) or not is_uri(where):
        return where if not isinstance(where, str) else Path(where)
    check(where)
    parts = urlsplit(where)
    if parts.scheme.lower() == "file":
        return Path(parts.path)
    return _remote(where.rstrip("/"))


def check(uri: str) -> None:
    """StorageError if a URI may carry a secret; the message does not repeat it."""
    if not is_uri(uri):
        return
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise StorageError(f"{redact(uri)}: not an address ({error}). Correct it.") from None
    if parts.query or "@" in parts.netloc:
        raise StorageError(
            f"{redact(uri)}: credentials and queries do not belong in a URI: it goes into logs and "
            "ledgers. Set them in the environment (AWS_ACCESS_KEY_ID...), or use the machine's role."
        )


def is_uri(text: str) -> bool:
    """Whether a text is SCHEME://... rather than a path."""
    return bool(_SCHEME.match(text))


def redact(text: str) -> str:
    """A URI without user, password, query and fragment; other texts as they are."""
    if not is_uri(text):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:  # no address: who knows what is a password in it
        return f"{text.partition('://')[0]}://..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_local(path: Path) -> bool:
    """Whether a path lies in this machine's file system."""
    return isinstance(path, os.PathLike)


def readable(path: Path) -> Any:
    """What pyarrow reads: a local path itself, if it is a file, and the open file of a remote one."""
    if not is_local(path):
        return path.open("rb")
    open_file(path).close()
    return path


def is_fault(error: BaseException) -> bool:
    """Whether an error comes from the disk, the network or a store, whose clients raise their own, not from
    us."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _CLIENTS


def listing(folder: Path) -> Iterator[Entry]:
    """Every file below `folder`, in no order; nothing where there is no such folder.

    Never more than a page, or a folder, in memory at once.
    """
    if is_local(folder):
        return _local_files(str(folder), "")
    if cast(Any, folder).protocol in ("s3", "s3a"):
        return _s3_files(folder)
    return _remote_files(folder)


def walk(folder: Path, on_error: Callable[[OSError], object] | None = None) -> Iterator[str]:
    """Names, relative and with slashes, of every file below a local folder; hidden folders are left out."""
    root = str(folder)
    for parent, folders, files in os.walk(root, onerror=on_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        prefix = parent[len(root) :].lstrip("/")
        yield from (f"{prefix}/{name}" if prefix else name for name in files)


def in_parallel(function: Callable[[Any], Answer], items: Iterator[Any] | list[Any]) -> Iterator[Answer]:
    """`function` of every item, in order, with several requests in flight."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(function, items)


def open_file(path: Path) -> IO[bytes]:
    """A file opened for reading. NotAFileError for a FIFO or a device, which could block forever."""
    return open_local(path) if is_local(path) else path.open("rb")


def stamp(path: Path) -> tuple[int, int]:
    """(size, mtime_ns) of a file; OSError where there is none."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns if is_local(path) else round(found.st_mtime * 1e9)


def size_of(path: str) -> int | None:
    """Bytes of a local file; None where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def read_bytes(path: Path, most: int = _MOST) -> bytes:
    """A whole file of at most `most` bytes, in one request: an open remote file fails if it is replaced."""
    if is_local(path):
        with open_file(path) as file:
            data = file.read(most + 1)
    else:
        data = _store(path).cat_file(_key(path))
    if len(data) > most:
        raise StorageError(
            f"{path}: larger than {most >> 20} MiB. It cannot be what its name says: remove it."
        )
    return data


def fetch(source: Path, target: Path) -> None:
    """Copy a file, remote or local, to the local `target`, and create its folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, _COPY)


def publish(source: Path, target: Path, temporary: Path | None = None) -> int:
    """Copy the local file `source` to `target`, which appears whole or not at all. Returns its bytes.

    Locally by a temporary name in the folder `temporary` (else in the target's own), fsync and rename; in a
    store by one PUT, or by a multipart upload, which becomes visible when it is complete.
    """
    if not is_local(target):
        _store(target).put_file(str(source), _key(target))
        return source.stat().st_size
    with source.open("rb") as reader:
        return _write_local(lambda writer: shutil.copyfileobj(reader, writer, _COPY), target, temporary)


def publish_bytes(data: bytes, target: Path, temporary: Path | None = None) -> int:
    """Write `data` to `target`, which appears whole or not at all. Returns the number of bytes."""
    if not is_local(target):
        _store(target).pipe_file(_key(target), data)
        return len(data)
    return _write_local(lambda writer: writer.write(data), target, temporary)


@contextlib.contextmanager
def writing(target: Path, temporary: Path) -> Iterator[Path]:
    """A local path to write to; what it holds at the end becomes `target`, whole. Nothing does on an error.

    For a local target the path is in `temporary`, on the target's own file system.
    """
    if not is_local(target):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / target.name
            yield path
            publish(path, target)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    path = unfinished(temporary)
    try:
        yield path
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.rename(target)
    finally:
        path.unlink(missing_ok=True)
    sync_folder(target.parent)


def create(data: bytes, target: Path) -> bool:
    """Write a small remote file only if there is none; return whether there was none."""
    try:
        _store(target).pipe_file(_key(target), data, mode="create")
    except FileExistsError:
        return False
    return True


def remove(paths: list[Path]) -> None:
    """Remove files; files already gone are no error."""
    local = [path for path in paths if is_local(path)]
    for path in local:
        path.unlink(missing_ok=True)
    remote = [path for path in paths if not is_local(path)]
    literal = [path for path in remote if not _PATTERN.search(_key(path))]
    for at in range(0, len(literal), 1000):
        batch = literal[at : at + 1000]
        _store(batch[0]).rm([_key(path) for path in batch])
    for path in remote:
        if _PATTERN.search(_key(path)):
            _store(path).rm_file(_key(path))


def remove_empty(folder: Path) -> None:
    """Remove a local folder if there is nothing in it. Object stores have no folders."""
    if is_local(folder):
        with contextlib.suppress(OSError):
            folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Make renames in a local folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_local(write: Callable[[Any], Any], target: Path, temporary: Path | None) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    path = (
        unfinished(temporary) if temporary else target.with_name(f"insideout-{uuid.uuid4().hex}.unfinished")
    )
    try:
        with path.open("xb") as writer:
            write(writer)
            writer.flush()
            os.fsync(writer.fileno())
            size = writer.tell()
        path.rename(target)
    finally:
        path.unlink(missing_ok=True)
    sync_folder(target.parent)
    return size


@functools.cache
def _options(scheme: str) -> dict[str, Any]:
    """fsspec's options: others write while we read, so listings are never cached."""
    return {"use_listings_cache": False} if scheme in ("s3", "s3a", "gs", "gcs") else {}


def _remote(uri: str) -> Path:
    from upath import UPath

    scheme = uri.partition("://")[0].lower()
    try:
        path = UPath(uri, **_options(scheme))
        store: Any = path.fs  # created at its first use; its package may be missing
        if scheme in ("s3", "s3a") and store.session is None:
            store.session = _s3_session()
    except (ImportError, ValueError) as error:
        package = _INSTALL.get(scheme, f"fsspec's package for {scheme}://")
        raise StorageError(
            f"{uri}: {error}. Install {package} on every node, or use another place."
        ) from error
    return cast(Path, path)


def _s3_session() -> Any:
    """A session that parses listings four times as fast: the default one spends most of its time on dates."""
    from aiobotocore.session import get_session

    session = get_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
    return session


def _time(text: Any) -> datetime.datetime:
    """A time as listings write it, or in any other format of AWS."""
    try:
        return datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        from botocore.utils import parse_timestamp

        return parse_timestamp(text)


def _store(path: Path) -> Any:
    return cast(Any, path).fs


def _key(path: Path) -> str:
    return cast(Any, path).path


def _local_files(folder: str, prefix: str) -> Iterator[Entry]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _local_files(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file():
            found = entry.stat()
            yield Entry(prefix + entry.name, found.st_size, found.st_mtime_ns)


def _s3_files(folder: Path) -> Iterator[Entry]:
    """S3's own pages of 1,000: fsspec would hold a dictionary of 1 KiB for every object first."""
    bucket, _, prefix = _key(folder).partition("/")
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    request: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix}
    while True:
        page = _store(folder).call_s3("list_objects_v2", **request)
        for item in page.get("Contents", ()):
            name = item["Key"][len(prefix) :]
            if name and not name.endswith("/"):
                yield Entry(name, item["Size"], round(item["LastModified"].timestamp() * 1e9))
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]


def _remote_files(folder: Path) -> Iterator[Entry]:
    """Any other store, folder by folder."""
    root = _key(folder).rstrip("/") + "/"
    for _, _, files in _store(folder).walk(root, detail=True):
        for info in files.values():
            changed = info.get("mtime") or info.get("LastModified") or info.get("created")
            seconds = changed.timestamp() if hasattr(changed, "timestamp") else float(changed or 0)
            yield Entry(info["name"].lstrip("/")[len(root.lstrip("/")) :], info["size"], round(seconds * 1e9))
