"""A gateway without Linkspan: a plain charon in a namespace on the laboratory's external network.

It is configured in the words of swanctl.conf(5), and tells nothing to anybody.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import vici

from linkspan.drivers.linux import esp_backend, netns, process
from linkspan.lab import fabric
from linkspan.lab.fabric import LabError

NAME: Final = "plain"
ADDRESS: Final = "198.51.100.200"
NETWORK: Final = "10.200.0.0/24"
INSIDE: Final = "10.200.0.1"
"""Its own address in its network."""
_START: Final = 15.0
_COMMAND: Final = 10.0
"""Seconds that charon may take to start, and for a command."""
_PLUGINS: Final = (
    "openssl aes sha1 sha2 hmac kdf gcm random nonce pem constraints revocation {esp}kernel-netlink socket-default vici"
)
_SETTINGS: Final = """\
charon {{
    load_modular = no
    load = {plugins}
    threads = 16
    retransmit_timeout = 1.0
    retransmit_base = 1.4
    retransmit_tries = 8
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes
    filelog {{
        plain {{
            path = {folder}/charon.log
            default = 1
            ike = 2
            cfg = 2
            flush_line = yes
        }}
    }}
    plugins {{
        vici {{
            socket = unix://{folder}/vici
        }}
    }}
}}
charon-systemd {{
    journal {{
        default = -1
    }}
}}
"""


class PlainGateway:
    """A running plain charon. `namespace`: where it runs. Raises LabError if it does not start."""

    def __init__(self, instance: str, network_id: str) -> None:
        self._instance = instance
        self.folder = Path(tempfile.mkdtemp(prefix="ls-plain-"))
        try:
            self.namespace = fabric.make_host(instance, NAME, network_id, (f"{ADDRESS}/24",), ()).namespace
            self.run("ip", "address", "replace", f"{INSIDE}/24", "dev", "lo")
            esp = "kernel-libipsec " if esp_backend.detect() == "user-space" else ""
            text = _SETTINGS.format(plugins=_PLUGINS.format(esp=esp), folder=self.folder)
            (self.folder / "strongswan.conf").write_text(text, encoding="utf-8")
            self._start()
        except BaseException:
            self.close()
            raise

    def run(self, *command: str) -> None:
        """Run a command in its namespace. Raises LabError if it fails."""
        done = netns.run_inside(
            self.namespace, lambda: subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        )
        if done.returncode:
            raise LabError(f"'{' '.join(command)}' failed at the plain gateway: {done.stderr.strip()}")

    def _start(self) -> None:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "STRONGSWAN_CONF": str(self.folder / "strongswan.conf")}
        null = subprocess.DEVNULL
        self.process = netns.run_inside(
            self.namespace,
            lambda: subprocess.Popen(
                ["charon-systemd"], cwd=self.folder, env=environment, stdin=null, stdout=null, stderr=null
            ),
        )
        deadline = time.monotonic() + _START
        while True:
            with contextlib.suppress(OSError), self.session() as session:
                session.version()
                return
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise LabError(f"the plain charon did not start: {self.log[-500:]}")
            time.sleep(0.05)

    def restart(self) -> None:
        """Kill charon and start another one, without any configuration."""
        self.kill()
        (self.folder / "vici").unlink(missing_ok=True)
        self._start()

    def kill(self) -> None:
        """Kill charon, so that it sends nothing any more."""
        process.terminate([self.process.pid])
        self.process.wait()

    def close(self) -> None:
        """End charon, and remove its namespace."""
        if hasattr(self, "process"):
            self.kill()
        with contextlib.suppress(OSError):
            fabric.remove(self._instance, NAME)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self) -> str:
        """The log of charon."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "charon.log").read_text(encoding="utf-8", errors="replace")
        return ""

    @contextlib.contextmanager
    def session(self) -> Iterator[vici.Session]:
        """Open a VICI session. Raises OSError."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(self.folder / "vici"))
            connection.settimeout(_COMMAND)
            yield vici.Session(connection)

    # -- charon ----------------------------------------------------------------------------------------------------

    def load(
        self, message: dict[str, Any], psk: str | None, key: str = "", secrets: Sequence[dict[str, Any]] = ()
    ) -> None:
        """Load the connection `fault` with a pre-shared key, or a private key in PEM. `secrets`: others."""
        with self.session() as session:
            if key:
                session.load_key({"type": "any", "data": key})
            if psk is not None:
                owners = [message["local"]["id"], message["remote"]["id"]]
                session.load_shared({"id": "fault", "type": "IKE", "data": psk, "owners": owners})
            for secret in secrets:
                session.load_shared(secret)
            session.load_conn({"fault": message})

    def initiate(self) -> None:
        """Initiate, and wait for nothing."""
        with contextlib.suppress(vici.exception.CommandException), self.session() as session:
            list(session.initiate({"ike": "fault", "child": "net", "timeout": "-1"}))

    def terminate(self) -> None:
        """Delete the IKE SA."""
        with contextlib.suppress(vici.exception.CommandException), self.session() as session:
            list(session.terminate({"ike": "fault", "force": "yes", "timeout": "1000"}))

    def clear(self) -> None:
        """Unload everything, and forget every SA."""
        with self.session() as session:
            for name in session.get_conns()["conns"]:
                session.unload_conn({"name": name})
            # Keys and certificates: charon asks for certificates of every CA that it has ever been given.
            session.clear_creds()
            session.flush_certs()
            for number in [sa["uniqueid"] for listed in session.list_sas() for sa in listed.values()]:
                with contextlib.suppress(vici.exception.CommandException):
                    list(session.terminate({"ike-id": number, "force": "yes", "timeout": "500"}))

    def is_busy(self) -> bool:
        """True if it has an IKE SA, also one that is being negotiated."""
        with self.session() as session:
            return bool(list(session.list_sas()))
