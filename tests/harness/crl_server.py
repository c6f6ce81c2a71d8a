"""A web server with a revocation list, in the namespace of a peer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from linkspan.drivers.linux import netns
from tests.harness.peer import Peer
from tests.harness.world import until

SERVER = """\
import http.server, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with (folder / "requests").open("a") as log:
            log.write(f"{self.client_address[1]} {self.path}\\n")
        match self.path:
            case "/moved":
                self.send_response(302)
                self.send_header("Location", "/crl")
                self.end_headers()
            case "/large":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"x" * 1_000_000)
            case "/slow":
                time.sleep(60)
            case "/cut":
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"x")
            case "/crl" if (folder / "crl").exists():
                self.send_response(200)
                self.end_headers()
                self.wfile.write((folder / "crl").read_bytes())
            case _:
                self.send_error(404)

    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer(("0.0.0.0", 80), Handler).serve_forever()
"""


class CrlServer:
    """A web server in a peer's namespace. `crl` is its file; `requests`: the source ports and paths that it saw."""

    def __init__(self, peer: Peer, folder: Path) -> None:
        self.crl = folder / "crl"
        self._log = folder / "requests"
        self._log.touch()
        command = [sys.executable, "-c", SERVER, str(folder)]
        self.process = netns.run_inside(peer.namespace, lambda: subprocess.Popen(command))
        self.url = f"http://{peer.v4}"
        until(lambda: "0.0.0.0:80" in peer.run("ss", "-Hltn"), 10.0)

    @property
    def requests(self) -> list[list[str]]:
        """The source port and path of each request."""
        return [line.split() for line in self._log.read_text().splitlines()]

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
