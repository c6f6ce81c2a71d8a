"""A server sends what it wants: the command line shows it without harm to the terminal, as table, as JSON, as error."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from linkspan.bootstrap import command_line
from linkspan.core import printable

HOSTILE = {
    "escape": "\x1b]0;owned\x07\x1b[2J",
    "C1": "\x9b2J",
    "bidi": "a\u202eb",
    "zero width": "a\u200bb",
    "return": "good\rbad",
    "NUL and DEL": "\x00\x7f",
    "tag": "\U000e0041",
}


class Hostile(BaseHTTPRequestHandler):
    """Answers every request with the same text in all places."""

    text = ""
    status = 200

    def do_GET(self) -> None:
        item: dict[str, Any] = dict.fromkeys(
            ("id", "name", "status", "status_reason", "peer_address", "project_id", "backend", "charon_version"),
            self.text,
        )
        item |= {"created_at": None, "alive": True, "gateways": 1, "peer_cidrs": [self.text], self.text: self.text}
        body: Any = {self.path.partition("?")[0].rpartition("/")[2].replace("-", "_"): [item]}
        if self.status >= 400:
            body = {"NeutronError": {"type": self.text, "message": self.text, "detail": self.text}}
        content = json.dumps(body).encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


@pytest.fixture
def clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    entry = {"auth_type": "none", "auth": {"endpoint": url}}
    file = tmp_path / "clouds.yaml"
    file.write_text(json.dumps({"clouds": {"linkspan-demo": entry}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
    yield
    server.shutdown()
    server.server_close()


COMMANDS = (
    ("status",),
    ("status", "--format", "json"),
    ("connection", "list"),
    ("connection", "list", "--format", "json"),
    ("network", "list"),
)


@pytest.mark.usefixtures("clouds")
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_a_server_sends_is_harmless(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Hostile, "text", text)
    for status in (200, 409):
        monkeypatch.setattr(Hostile, "status", status)
        for command in COMMANDS:
            code = command_line.execute(command)
            printed = capsys.readouterr()
            assert code == (0 if status == 200 else 1), (command, printed)
            shown = printed.out + printed.err
            assert shown
            assert printable.unprintable(shown, "\n") == "", (command, shown)
            if "json" in command and status == 200:
                # The value is the one that was sent.
                assert json.dumps(text) in json.dumps(json.loads(printed.out))
