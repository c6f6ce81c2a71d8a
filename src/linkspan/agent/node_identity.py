"""The identity of a node: its key, its certificate and the authorities that it trusts, in one file of the node.

The key is made here and never leaves. The file is replaced as a whole, so that an agent that is killed has either the
previous identity or the next one, and both are valid until the next one is used.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from linkspan.core.node_join import Issued, name_fault
from linkspan.core.times import iso_time

_HEAD: Final = "Linkspan node"
_BEGIN: Final = "-----BEGIN "


class IdentityError(Exception):
    """An identity cannot be used; one sentence that says what to do."""


class NodeIdentity(msgspec.Struct, frozen=True):
    """An identity. `valid_from` and `valid_until`: those of the certificate, seconds since 1970."""

    name: str
    url: str
    key: str
    certificate: str
    authorities: str
    valid_from: float
    valid_until: float

    @property
    def renew_at(self) -> float:
        """The half of the certificate's life."""
        return (self.valid_from + self.valid_until) / 2

    def fault(self, now: float) -> str:
        """The reason why the certificate cannot be used, and the remedy; empty if it can."""
        if now < self.valid_until:
            return ""
        end = iso_time(self.valid_until)
        return f"the certificate of node {self.name} expired at {end}: {rejoin(self.name)}"


def rejoin(name: str) -> str:
    """How a node gets a certificate again, for messages."""
    return (
        f"make a token with 'linkspan node join-token {name}' on the API's machine, and run 'linkspan node join' here"
    )


class NewKey:
    """A new key, and the request for a certificate with it."""

    def __init__(self) -> None:
        # Late, as in the whole module: an agent with a token does without.
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        pem = serialization.Encoding.PEM
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        self.request = builder.sign(key, hashes.SHA256()).public_bytes(pem).decode()
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        self._key = key.private_bytes(pem, pkcs8, plain).decode()

    def identity(self, issued: Issued, url: str) -> NodeIdentity:
        """The identity with what the API has issued. Raises IdentityError."""
        return _identity(issued.node_name, url, self._key, issued.certificate, issued.authorities)


class IdentityFile:
    """The file of a node's identity. `clock`: seconds since 1970."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.clock = clock

    def version(self) -> tuple[int, ...]:
        """Changes with the file; empty if there is none."""
        try:
            status = os.stat(self.path)
        except OSError:
            return ()
        return (status.st_ino, status.st_mtime_ns, status.st_size)

    def read(self) -> NodeIdentity:
        """The identity. Raises IdentityError."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise IdentityError(f"cannot read {self.path}: {error}") from None
        head, *blocks = text.split(_BEGIN)
        lines = [line.partition(": ")[2] for line in head.splitlines()]
        if len(blocks) < 3 or len(lines) != 3:
            raise IdentityError(f"{self.path} is no identity of a node: remove it, and run 'linkspan node join'")
        key, certificate, *authorities = (_BEGIN + block for block in blocks)
        return _identity(lines[1], lines[2], key, certificate, "".join(authorities))

    def write(self, identity: NodeIdentity) -> None:
        """Replaces the identity, on the disk when it returns. Raises IdentityError."""
        head = f"{_HEAD}\nname: {identity.name}\nurl: {identity.url}\n"
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(head + identity.key + identity.certificate + identity.authorities)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
        except OSError as error:
            raise IdentityError(f"cannot write {self.path}: {error.strerror}") from None

    def context(self, identity: NodeIdentity) -> ssl.SSLContext:
        """TLS as the node, to a server that one of its authorities has issued a certificate to. Raises
        IdentityError."""
        try:
            context = trusting(identity.authorities)
            context.load_cert_chain(self.path)
        except (OSError, ssl.SSLError) as error:
            raise IdentityError(f"{self.path} cannot be used: {error}: {rejoin(identity.name)}") from None
        return context


def trusting(authorities: str) -> ssl.SSLContext:
    """TLS to servers with certificates of these authorities (PEM), and of no others. Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authorities)
    return context


def _identity(name: str, url: str, key: str, certificate: str, authorities: str) -> NodeIdentity:
    from cryptography import x509

    if name_fault(name):
        raise IdentityError("the API has sent a name that no node has")
    try:
        parsed = x509.load_pem_x509_certificate(certificate.encode())
        start, end = parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp()
    except ValueError as error:
        raise IdentityError(f"the certificate of node {name} cannot be read: {error}: {rejoin(name)}") from None
    return NodeIdentity(name, url, key, certificate, authorities, start, end)
