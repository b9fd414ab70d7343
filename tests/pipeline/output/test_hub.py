"""Publishing: what would go to the hub, and that a token never comes back in a message."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fuse.dataset.layout import Layout
from pipeline.output import record
from pipeline.output.hub import uploads
from render.failures import UserError
from tests.helpers.commands import insideout
from tests.helpers.fuse_dataset import add_models

TOKEN = "hf_aVerySecretToken0123456789abcdefgh"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "OUT"
    add_models(folder, ["cube", "ball"])
    record.describe(Layout(folder))
    for private in ("ledger/render/log.jsonl", "checkpoints/run/step.pt", ".tmp/x", "clouds/part-9.parquet"):
        (folder / private).parent.mkdir(parents=True, exist_ok=True)
        (folder / private).write_text("x")
    return folder


@pytest.fixture
def refusing() -> Iterator[str]:
    """A hub that refuses every token and repeats it in its answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            answer = json.dumps({"error": f"bad token {self.headers.get('authorization')}"}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_shards_and_card_go_ledgers_and_strangers_stay(out: Path):
    names = [one.name for one in uploads(Layout(out))]
    assert names == [
        "clouds/part-00000.parquet", "clouds/manifest.jsonl", "dataset.json", "contact-sheet.jpg",
        "croissant.json", "README.md",
    ]  # fmt: skip
    more = {one.name for one in uploads(Layout(out), views=True)} - set(names)
    assert more == {f"views/{Layout.bundle_name(uid)}" for uid in ("cube", "ball")}


def test_a_dry_run_says_what_would_go(out: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    done = insideout("push", out, "me/shapes", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "6 files" in done.stdout and "2 unknown" in done.stdout and "nothing was sent" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    refused = insideout("push", out, "me/shapes", "--dry-run", "--require-license")
    assert refused.returncode == 2 and "2 models have no known license" in refused.stderr


def test_a_refusal_is_one_line_without_the_token(out: Path, refusing: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", refusing)
    done = insideout("push", out, "me/shapes")
    assert done.returncode == 2 and "me/shapes: the hub refused" in done.stderr, done.stderr
    assert TOKEN not in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_nothing_to_publish_is_said(tmp_path: Path):
    with pytest.raises(UserError, match="no shards to publish"):
        uploads(Layout(tmp_path))
