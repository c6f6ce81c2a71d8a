"""Serves a program of OpenStack in an environment of its own.

Run by the Python of that environment, with the arguments SCRIPT FOLDER FD [ARGUMENTS]. The script is a file beside this
one; its function `application` gets the folder, the URL and the arguments, and returns the WSGI application. FD is a
listening socket, which is served once the application is ready.
"""

from __future__ import annotations

import runpy
import socket
import socketserver
import sys
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A server with a thread for each request, on a socket that already listens."""

    daemon_threads = True

    def __init__(self, descriptor: int) -> None:
        super().__init__(("127.0.0.1", 0), WSGIRequestHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket(fileno=descriptor)
        self.server_name, self.server_port = self.socket.getsockname()
        self.setup_environ()


def main(script: str, folder: Path, descriptor: int, *arguments: str) -> None:
    """Make the application and serve it until the process ends."""
    server = Server(descriptor)
    # The applications read sys.argv by themselves.
    sys.argv[1:] = []
    url = f"http://{server.server_name}:{server.server_port}"
    server.set_app(runpy.run_path(script)["application"](folder, url, *arguments))
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
