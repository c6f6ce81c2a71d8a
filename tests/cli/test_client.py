"""The client against a scripted server: the choice of the cloud, the requests, and the text of errors."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from linkspan.cli.client import ApiError, Client, CliError, Cloud, load_cloud


class Scripted(http.server.ThreadingHTTPServer):
    """Answers every request with `answer` and records the requests in `seen`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: tuple[int, bytes] = (200, b"{}")
        self.seen: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Scripted

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(
            {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
        )
        status, content = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 # names of the base class

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 # name of the base class
        return


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scripted
    scripted.shutdown()
    thread.join()
    scripted.server_close()


def client(server: Scripted, **more: Any) -> Client:
    return Client(Cloud(name="c", url=server.url, **more))


def test_a_request_carries_credentials_and_json(server: Scripted) -> None:
    server.answer = (201, b'{"network": {"id": "1"}}')
    response = client(server, headers={"Authorization": "Basic eA=="}).request("POST", "/v2.0/networks", {"a": [1]})
    assert response == {"network": {"id": "1"}}
    request = server.seen[0]
    assert (request["method"], request["path"], json.loads(request["body"])) == ("POST", "/v2.0/networks", {"a": [1]})
    assert request["headers"]["Authorization"] == "Basic eA=="
    assert request["headers"]["Content-Type"] == "application/json"


def test_queries_are_quoted(server: Scripted) -> None:
    client(server).request("GET", "/v2.0/networks", query=[("name", "a b&c=ü"), ("name", "d")])
    assert server.seen[0]["path"] == "/v2.0/networks?name=a+b%26c%3D%C3%BC&name=d"


def test_a_response_without_a_body_is_none(server: Scripted) -> None:
    server.answer = (204, b"")
    assert client(server).request("DELETE", "/x") is None


@pytest.mark.parametrize(
    ("status", "content", "message"),
    [
        (404, {"NeutronError": {"type": "RouterNotFound", "message": "Router x\ncould not be found", "detail": ""}},
         "Router x could not be found"),
        (401, {"error": {"code": 401, "title": "Unauthorized", "message": "Who are you?"}},
         "Who are you? (are the user and the password"),
        (500, {"NeutronError": "plain"}, "plain"),
        (502, None, "the API answered 502 Bad Gateway"),
        (400, [], "the API answered 400 Bad Request"),
    ],
)  # fmt: skip
def test_an_error_is_the_apis_own_message_in_one_line(
    server: Scripted, status: int, content: Any, message: str
) -> None:
    server.answer = (status, json.dumps(content).encode() if content is not None else b"<html>")
    with pytest.raises(ApiError) as caught:
        client(server).request("GET", "/x")
    assert caught.value.status == status
    assert caught.value.message.startswith(message)
    assert "\n" not in caught.value.message


def test_a_server_that_does_not_answer_json_is_reported(server: Scripted) -> None:
    server.answer = (200, b"<html>hello</html>")
    with pytest.raises(CliError, match="is it a Linkspan API"):
        client(server).request("GET", "/x")


def test_an_unreachable_server_is_reported_with_the_command_that_starts_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(CliError, match=r"connection refused.*'linkspan run'"):
        Client(Cloud(name="c", url=f"http://127.0.0.1:{port}")).request("GET", "/x")


def clouds(path: Path, **entries: Any) -> Path:
    file = path / "clouds.yaml"
    file.write_text(yaml.safe_dump({"clouds": entries}), encoding="utf-8")
    return file


BASIC = {"auth_type": "http_basic", "auth": {"endpoint": "http://h:1/v2.0", "username": "u", "password": "p:w"}}


def test_the_cloud_is_chosen_by_name_then_environment_then_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = {"auth_type": "none", "auth": {"endpoint": "http://127.0.0.1:2"}}
    token = {"auth_type": "admin_token", "auth": {"endpoint": "http://127.0.0.1:3", "token": "t"}}
    file = clouds(tmp_path, **{"linkspan-demo": BASIC, "second": none, "third": token})
    monkeypatch.delenv("OS_CLOUD", raising=False)
    demo = load_cloud(None, file)
    assert demo.url == "http://h:1"
    assert demo.headers == {"Authorization": "Basic " + base64.b64encode(b"u:p:w").decode()}
    assert "p:w" not in repr(demo)
    monkeypatch.setenv("OS_CLOUD", "second")
    assert load_cloud(None, file).headers == {}
    assert load_cloud("third", file).headers == {"X-Auth-Token": "t"}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"auth_type": "v3password"}, "does not support"),
        ({"auth_type": "none", "auth": {}}, "no usable auth.endpoint"),
        ({"auth_type": "none", "auth": {"endpoint": "ftp://h"}}, "no usable auth.endpoint"),
        ("nonsense", "does not support"),
    ],
)
def test_an_unusable_cloud_is_refused_in_one_line(tmp_path: Path, entry: Any, words: str) -> None:
    with pytest.raises(CliError, match=words) as caught:
        load_cloud("x", clouds(tmp_path, x=entry))
    assert "\n" not in caught.value.message


def test_the_error_for_an_unknown_cloud_lists_the_known_clouds(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="it has linkspan-demo"):
        load_cloud("y", clouds(tmp_path, **{"linkspan-demo": BASIC}))


@pytest.mark.parametrize("text", ["", "clouds: 3", "- a", "a: [", "\x00"])
def test_a_damaged_clouds_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "clouds.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CliError, match=r"is not a clouds\.yaml"):
        load_cloud(None, tmp_path / "clouds.yaml")


def test_a_missing_clouds_file_is_reported_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="'linkspan run'"):
        load_cloud(None, tmp_path / "clouds.yaml")
