"""Joining: a node exchanges a one-time token for its first certificate.

The token has the fingerprint of the authority, so that the node knows the API before it sends the token to it: it asks
for the authorities first, over a connection that proves nothing, and takes only the one with the fingerprint.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec

from linkspan.agent.api_client import ApiUnreachable
from linkspan.agent.node_identity import IdentityError, IdentityFile, NewKey, NodeIdentity, trusting
from linkspan.core.node_join import SERVER_NAME, Issued, Join, authority_of
from linkspan.core.state.observed import AGENT_PATH

TIMEOUT = 10.0
"""Seconds for a request."""


def join(url: str, token: str, state: Path) -> NodeIdentity:
    """Joins at the API's listener for nodes, and writes the identity into a state directory. Raises ApiUnreachable."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise ApiUnreachable(f"{url!r} is not the URL of a listener for nodes: write https://HOST:9697", final=True)
    pinned = authority_of(token)
    if pinned is None:
        raise ApiUnreachable("that is no join token: make one with 'linkspan node join-token NAME'", final=True)
    root = f"{url.rstrip('/')}{AGENT_PATH}"
    key = NewKey()
    try:
        authority = _pinned(_authorities(root), pinned)
        with httpx.Client(verify=trusting(authority), trust_env=False, timeout=TIMEOUT) as client:
            answer = client.post(
                f"{root}/join",
                content=msgspec.json.encode(Join(token, key.request)),
                extensions={"sni_hostname": SERVER_NAME},
            )
    except (httpx.HTTPError, ssl.SSLError) as error:
        raise ApiUnreachable(f"cannot join at {url}: {error}") from None
    if answer.status_code == 401:
        raise ApiUnreachable(
            "the API does not accept this join token: it was used, has expired or was replaced; make another one with "
            "'linkspan node join-token NAME'",
            final=True,
        )
    if answer.status_code != 200:
        raise ApiUnreachable(f"the API answered {answer.status_code}: {answer.text[:200]}")
    try:
        identity = key.identity(msgspec.json.decode(answer.content, type=Issued), url.rstrip("/"))
        IdentityFile(state / "nodes" / f"{identity.name}.pem").write(identity)
    except (msgspec.DecodeError, IdentityError) as error:
        raise ApiUnreachable(f"cannot join at {url}: {error}") from None
    return identity


def _authorities(root: str) -> str:
    # Not verified, and nothing secret is sent: what comes back is compared with the fingerprint.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT) as client:
        answer = client.get(f"{root}/authorities")
    if answer.status_code != 200:
        raise ApiUnreachable(f"this is not the API's listener for nodes: it answered {answer.status_code}", final=True)
    return answer.text[:65_536]


def _pinned(authorities: str, fingerprint: str) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    try:
        for authority in x509.load_pem_x509_certificates(authorities.encode()):
            if authority.fingerprint(hashes.SHA256()).hex() == fingerprint:
                return authority.public_bytes(serialization.Encoding.PEM).decode()
    except ValueError:
        pass
    raise ApiUnreachable(
        "the server is not the API that made this join token, or somebody is in between: nothing was sent to it",
        final=True,
    )
