"""Translates the core's configuration into VICI messages. Pure.

The agent decides, so charon's own actions are disabled: no start, close or trap action, no MOBIKE, no uniqueness
policy that would delete a tunnel, no `updown` script. `unique` is `no` and not `never`, with which charon would neither
send nor obey INITIAL_CONTACT (RFC 7296 2.4): an end that has lost its IKE SAs would leave them at the other one.

charon takes configurations with different names and equal contents for one: it puts a child into an IKE SA that another
key has authenticated, initiates no child beside an equal one, and keeps the equal one when it replaces a list. So each
has a value that means nothing otherwise: an identity of EAP, which is not used, and a number of packets that no child
reaches.
"""

from __future__ import annotations

import hashlib
from typing import Final

from linkspan.core.ipsec import config as ipsec_config
from linkspan.core.ipsec.config import CertificateConfig, ChildConfig, IkeConfig, SharedKey
from linkspan.core.secret import Secret
from linkspan.drivers.charon.vici_packets import ViciMessage

_UNREACHED: Final = 2**52
_PEERS_SIGNATURES: Final = "pubkey-sha256-sha384-sha512-identity-rsa/pss-sha512-sha256"
"""Of certificates and in IKE: any key, but no SHA-1. `identity` stands for Ed25519, which has no hash of its own. For
charon `pubkey` includes only PKCS #1 of RSA, and libreswan signs with PSS and SHA-512 (RFC 7427 allows both). charon
takes 63 characters and drops the others without a word, so PSS with SHA-384 is left out."""
PPK: Final = "ppk:"
"""How the names of post-quantum keys in charon begin. No pre-shared key has such a name."""
PROBE: Final = "probe"
"""The name of the connection, and of its child, that shows which versions of IKE charon has."""


def load_conn(config: IkeConfig) -> ViciMessage:
    """Return the message of `load-conn` (strongSwan: src/libcharon/plugins/vici/README.md, swanctl.conf(5))."""
    section: ViciMessage = {
        "version": str(config.version),
        "local_addrs": [config.local_address],
        "remote_addrs": [config.remote_address],
        "proposals": list(config.proposals),
        "mobike": "no",
        "unique": "no",
        "keyingtries": "1",
        "reauth_time": "0",
        "rekey_time": str(config.rekey_time),
        "over_time": str(config.over_time),
        "rand_time": str(config.rand_time),
        "local": {"auth": config.auth, "id": _identity(config.local_id), "aaa_id": config.name},
        "remote": {"auth": config.auth, "id": _identity(config.remote_id)},
        "children": {child.name: _child(child) for child in config.children},
    }
    if config.aggressive:
        section["aggressive"] = "yes"
    if config.dpd_delay:
        section["dpd_delay"] = str(config.dpd_delay)
    if config.dpd_delay and config.dpd_timeout:
        section["dpd_timeout"] = str(config.dpd_timeout)
    if config.certificates:
        _add_certificates(section, config.certificates)
    if config.ppk:
        section |= {"ppk_id": config.ppk.id, "ppk_required": "yes" if config.ppk.required else "no"}
    return {config.name: section}


def _add_certificates(section: ViciMessage, certificates: CertificateConfig) -> None:
    """Add the certificates of both ends to a connection.

    The remote end always has CAs: without them every certificate that charon was ever given would do. `revocation` is
    left out for what charon calls relaxed: with another word it refuses the whole connection.
    """
    section["local"]["certs"] = list(certificates.chain)
    section["remote"] |= {"auth": _PEERS_SIGNATURES, "cacerts": list(certificates.issuers)}
    if certificates.pins:
        section["remote"]["certs"] = list(certificates.pins)
    if certificates.strict:
        section["remote"]["revocation"] = "strict"


def load_key(key: Secret) -> ViciMessage:
    """Return the message of `load-key`, the only way in which a private key reaches charon. `any`: of any algorithm."""
    return {"type": "any", "data": key.reveal()}


def load_authority(certificate: str) -> ViciMessage:
    """Return the message of `load-cert` for the certificate of a CA that no connection is restricted to."""
    return {"type": "X509", "flag": "CA", "data": certificate}


def load_crl(crl: bytes) -> ViciMessage:
    """Return the message of `load-cert` for a revocation list."""
    return {"type": "X509_CRL", "data": crl}


def load_ppk(id: str, key: Secret) -> ViciMessage:
    """Return the message of `load-shared` for a post-quantum key."""
    return {"id": PPK + id, "type": "ppk", "data": key.reveal().encode(), "owners": [id]}


def load_probe(version: int) -> ViciMessage:
    """Return the message of `load-conn` for a connection that can only be initiated, to nobody."""
    ends = {"local_addrs": ["127.0.0.1"], "remote_addrs": ["127.0.0.1"]}
    return {
        PROBE: {
            "version": str(version),
            **ends,
            "local": {"auth": "psk"},
            "remote": {"auth": "psk"},
            "children": {PROBE: {}},
        }
    }


def load_shared(key: SharedKey) -> ViciMessage:
    """Return the message of `load-shared`, the only way in which a pre-shared key reaches charon."""
    return {
        "id": key.id,
        "type": "IKE",
        "data": key.key.reveal().encode(),
        "owners": [_identity(owner) for owner in key.owners],
    }


def _identity(text: str) -> str:
    """Return the identity as given, but a non-ASCII key id in hexadecimal, since VICI strings are printable ASCII."""
    kind, _, value = text.partition(":")
    if kind != "keyid" or value.isascii():
        return text
    return f"keyid:#{value.encode().hex()}"


def _child(config: ChildConfig) -> ViciMessage:
    section: ViciMessage = {
        "local_ts": list(config.local_ts),
        "remote_ts": list(config.remote_ts),
        "mode": config.mode,
        "start_action": "none",
        "close_action": "none",
        "dpd_action": "clear",
    }
    lists = {"esp_proposals": config.esp_proposals, "ah_proposals": config.ah_proposals}
    section |= {name: list(value) for name, value in lists.items() if value}
    # For times and volumes left out, charon's defaults are relative: the hard limit 10 % above the rekey time, and up
    # to 10 % of random time.
    numbers = {
        "rekey_time": config.rekey_time,
        "life_time": config.life_time,
        "rekey_bytes": config.rekey_bytes,
        "life_bytes": config.life_bytes,
    }
    section |= {name: str(value) for name, value in numbers.items() if value}
    return section | {"rekey_packets": "0", "life_packets": str(_packets(config)), "rand_packets": "0"}


def _packets(config: ChildConfig) -> int:
    """Return a number for the owner of a child and its rank, larger than the packets of any child."""
    text = f"{ipsec_config.owner_of(config.name)} {config.rank}"
    return _UNREACHED + int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])
