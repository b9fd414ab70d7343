"""An S3 server of our own on loopback, with credentials that only the environment has."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from s3fs import S3FileSystem

from fuse.dataset.storage import locate

SECRET = "insideout-secret-that-no-file-may-hold"
KEY = "INSIDEOUTACCESSKEYID"
BUCKET = "bucket"


@dataclass(frozen=True)
class Store:
    """A running server with one bucket."""

    environment: dict[str, str]

    def place(self, *parts: str) -> Path:
        return locate("/".join([f"s3://{BUCKET}", *parts]))


@contextmanager
def s3_server(log: Path) -> Iterator[Store]:
    """Start moto's server, a whole S3 over HTTP, and make the bucket; the environment points to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    before = dict(os.environ)
    os.environ.update(environment)
    S3FileSystem.clear_instance_cache()  # clients keep the address of the server before
    try:
        _wait(server, port, log)
        locate(f"s3://{BUCKET}").fs.mkdir(BUCKET)  # type: ignore[attr-defined]
        yield Store(environment)
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.kill()
        server.wait()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
