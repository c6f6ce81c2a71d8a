"""A peer with libreswan instead of strongSwan, which takes one pair of selectors in each child SA.

libreswan and charon exclude each other as Debian packages, so its packages are downloaded and unpacked into a folder of
the cache, never installed. It has no ESP of its own: it needs the kernel's.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from linkspan.drivers.linux import netns
from tests.harness import recipes
from tests.harness.authorities import Ca, Issued
from tests.harness.peer import Peer
from tests.harness.world import until

VARIABLE: Final = "LINKSPAN_LIBRESWAN"
"""The environment variable with the folder into which libreswan was unpacked."""
CONFIGURATION = """\
config setup
    dnssec-enable=no

conn all
    auto=add
    ikev2=insist
    authby=secret
    left={peer.v4}
    leftsubnets={{{networks}}}
    leftupdown=%disabled
    right={ours}
    rightsubnets={{{beyond}}}
    ike=aes128-sha2_256-modp2048
    esp=aes128-sha2_256;modp2048
"""
IN_PLACE = 'mount -t tmpfs none /usr/libexec && ln -s "$1" /usr/libexec/ipsec && shift && exec "$@"'
"""Runs pluto where its programs are under the path with which it was compiled."""


class Unavailable(Exception):
    """libreswan's packages cannot be downloaded; the message is apt's last line."""


def unpack(folder: Path) -> Path:
    """Unpack libreswan and the libraries that this machine lacks into a folder, once; return where it is."""
    root = folder / "root"
    if not root.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            new = Path(temporary) / "root"
            for package in _download(Path(temporary)):
                subprocess.run(["dpkg", "-x", package, new], check=True)
            new.rename(root)
    return root


def _download(folder: Path) -> list[Path]:
    (folder / "partial").mkdir()
    options = ("-y", "-q", "--no-install-recommends", "--download-only", "-o", f"Dir::Cache::archives={folder}")
    if _apt_get(*options, "install", "libreswan"):
        # The lists may be out of date, and name versions that are gone.
        _apt_get("-q", "update")
        if error := _apt_get(*options, "install", "libreswan"):
            raise Unavailable(error)
    return list(folder.glob("*.deb"))


def _apt_get(*arguments: str) -> str:
    """Run apt-get; return the last line of its errors if it fails."""
    if shutil.which("apt-get") is None:
        return "there is no apt-get"
    done = subprocess.run(["apt-get", *arguments], capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2] or "apt-get failed" if done.returncode else ""


class Libreswan(Peer):
    """A peer whose IKE daemon is libreswan's pluto."""

    def _start(self) -> subprocess.Popen[bytes]:
        root = self._root = Path(os.environ[VARIABLE])
        libraries = ":".join(str(path) for path in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu")))
        self._environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH": libraries}
        self._programs = root / "usr" / "libexec" / "ipsec"
        for name in ("nss", "ipsec.d"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "ipsec.conf").write_text("config setup\n    ikev1-policy=accept\n")
        (self.folder / "ipsec.secrets").touch(0o600)
        self._run(root / "usr" / "bin" / "certutil", "-N", "-d", f"sql:{self.folder}/nss", "--empty-password")
        options = {
            "config": "ipsec.conf",
            "secretsfile": "ipsec.secrets",
            "ipsecdir": "ipsec.d",
            "nssdir": "nss",
            "rundir": "",
            "logfile": "charon.log",
        }
        command = ["unshare", "--mount", "sh", "-c", IN_PLACE, "pluto", str(self._programs)]
        command += [str(self._programs / "pluto"), "--nofork", "--no-dnssec"]
        command += [word for key, name in options.items() for word in (f"--{key}", str(self.folder / name))]
        process = netns.run_inside(
            self.namespace,
            lambda: subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            ),
        )
        until(self._answers, 15.0, lambda: self.log)
        return process

    def _answers(self) -> bool:
        return self._whack("--briefstatus").returncode == 0

    def _run(self, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(program), *arguments]
        return netns.run_inside(
            self.namespace,
            lambda: subprocess.run(
                command, env=self._environment, capture_output=True, text=True, timeout=60, check=False
            ),
        )

    def _whack(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(self._programs / "whack", "--rundir", str(self.folder), *arguments)

    def load_pairs(self, ours: str, psk: str, networks: Sequence[str], beyond: Sequence[str]) -> None:
        """Load a connection for each pair of a network here and one behind the gateway `ours`: all/1x1 and so on."""
        text = CONFIGURATION.format(peer=self, ours=ours, networks=",".join(networks), beyond=",".join(beyond))
        (self.folder / "ipsec.secrets").write_text(f'{self.v4} {ours} : PSK "{psk}"\n')
        numbers = itertools.product(range(1, len(networks) + 1), range(1, len(beyond) + 1))
        self._load(text, beyond, [f"all/{one}x{other}" for one, other in numbers])

    def load_recipe(self, ours: str, issued: Issued, ca: Ca, beyond: str, *, version: str) -> None:
        """Load the connection of docs/certificates.md for a key of its own."""
        import_, text = recipes.blocks("libreswan")
        for name, content in (("right.pem", "".join(issued.chain)), ("right.key", issued.key_pem), ("ca.pem", ca.pem)):
            (self.folder / name).write_text(content)
        here = recipes.changed(import_, {"/var/lib/ipsec/nss": f"{self.folder}/nss"})
        programs = f"{self._root}/usr/bin:{self._environment['PATH']}"
        command = ["sh", "-e", "-c", f"cd {self.folder}\n{here}"]
        done = subprocess.run(
            command, env=self._environment | {"PATH": programs}, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        values = {recipes.PEER: self.v4, recipes.OURS: ours, recipes.NETWORK: self.net4}
        if isinstance(issued.key, RSAPrivateKey):
            values["authby=ecdsa"] = "authby=rsasig"
        if version == "v1":
            values["ikev2=insist"] = "ikev2=no"
        self._load(f"{recipes.changed(text, values)}    leftupdown=%disabled\n", [beyond], ["left"])

    def _load(self, text: str, beyond: Sequence[str], names: Sequence[str]) -> None:
        (self.folder / "ipsec.conf").write_text(text)
        # Without its script pluto installs no routes.
        for network in beyond:
            self.run("ip", "route", "replace", network, "dev", "eth0", "src", self.in4)
        configuration = ("--config", str(self.folder / "ipsec.conf"), "--ctlsocket", str(self.folder / "pluto.ctl"))
        added = self._run(self._programs / "addconn", *configuration, "--autoall")
        for done in (self._whack("--listen"), added):
            assert done.returncode == 0, done.stdout + done.stderr
        self.names = names

    def load_exported(self, texts: Sequence[str], secrets: Sequence[str], beyond: Sequence[str]) -> None:
        """Load exported files, as one, for networks behind the gateway; `updown` is off as in the other tests."""
        (self.folder / "ipsec.secrets").write_text("".join(secrets))
        text = "".join(texts)
        names = re.findall(r"^conn (\S+)$", text, re.MULTILINE)
        self._load(re.sub(r"^conn .*$", "\\g<0>\n    leftupdown=%disabled", text, flags=re.MULTILINE), beyond, names)

    def initiate_all(self) -> None:
        """Initiate every pair, and do not wait."""
        for name in self.names:
            self._whack("--initiate", "--asynchronous", "--name", name)
