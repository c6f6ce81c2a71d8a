"""strongswan.conf of a gateway's charon: the same text for every gateway of a backend; users configure none of it.

Paths are those of charon's private root, where /run is its own folder: the packaged AppArmor profile names them.
Comments in the text give the reasons for its values.
"""

from __future__ import annotations

from typing import Final

from linkspan.core.state.observed import Backend

LOG: Final = "charon.log"
SOCKET: Final = "charon.vici"

_CRYPTO: Final = "aesni openssl random nonce drbg aes sha1 sha2 hmac kdf gcm ctr ccm cmac xcbc"
"""aesni and openssl come before gcm, whose own code is five times slower."""
_CERTIFICATES: Final = "pem constraints revocation"
"""Without `constraints` no path length is checked, and without either of the last two no revocation, also where it is
strict: charon says nothing and lets the peer in. No plugin fetches anything: charon would open whatever URL stands in
the certificate of a peer."""

_OPTIONAL: Final = frozenset({"aesni"})
"""Plugins that not every processor supports."""

_TEXT: Final = """\
charon {{
    load_modular = no
    load = {plugins}

    # With 4 or 8 threads and user-space ESP, VICI can accept a connection and never answer it.
    threads = 16

    # The first retransmission after 2 s, then less often, at most every 15 s. The agent ends an attempt, not charon:
    # 6,000 tries last for a day, and a DPD timeout may be long.
    retransmit_timeout = 2.0
    retransmit_base = 1.5
    retransmit_limit = 15
    retransmit_tries = 6000

    # What a peer has begun and does not go on with is said after this time, in seconds.
    half_open_timeout = 20

    # Cookies (RFC 7296 2.6) against floods. A low limit of half-open SAs per peer would slow down a peer with 100
    # connections.
    dos_protection = yes
    cookie_threshold = 30
    cookie_threshold_ip = 30
    block_threshold = 1000
    ikesa_table_size = 256
    ikesa_table_segments = 4

    # The API lets a user choose aggressive mode with a pre-shared key; without this the responder refuses it.
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes

    # An IKE SA is replaced before it is deleted, by the agent or if a peer demands that we authenticate again
    # (RFC 4478). The default depends on strongSwan's version.
    make_before_break = yes

    # A peer may neither redirect us (RFC 5685) nor assign us an address.
    follow_redirects = no
    install_virtual_ip = no
    cache_crls = no
    install_routes = yes

    filelog {{
        linkspan {{
            path = /run/{log}
            time_format = %Y-%m-%dT%H:%M:%S
            ike_name = yes
            default = 1
            # Lines about each packet, which anybody can send. VICI has them all the same.
            net = 0
            enc = 0
            flush_line = yes
        }}
    }}
    plugins {{
        vici {{
            socket = unix:///run/{socket}
        }}
    }}
}}
charon-systemd {{
    journal {{
        default = -1
    }}
}}
"""


def plugins(backend: Backend) -> list[str]:
    """Return the plugins that charon loads, in order."""
    esp = ["kernel-libipsec"] if backend == "user-space" else []
    return [*_CRYPTO.split(), *_CERTIFICATES.split(), *esp, "kernel-netlink", "socket-default", "vici", "counters"]


def allowed_plugins(backend: Backend) -> frozenset[str]:
    """Return the plugins that charon may report as loaded; `charon-systemd` is the program itself."""
    return frozenset(plugins(backend)) | {"charon-systemd"}


def required_plugins(backend: Backend) -> frozenset[str]:
    """Return the plugins that charon must report as loaded."""
    return frozenset(plugins(backend)) - _OPTIONAL


def render(backend: Backend) -> str:
    """Return the text of strongswan.conf."""
    return _TEXT.format(plugins=" ".join(plugins(backend)), log=LOG, socket=SOCKET)
