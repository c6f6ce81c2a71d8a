"""strongswan.conf of a gateway's charon: the same text for every gateway of a backend, with nothing of a user in it.

Paths are relative to charon's working directory, its own. Why each value is as it is stands beside it.
"""

from __future__ import annotations

from typing import Final

from linkspan.core.state.observed import Backend

FILE: Final = "strongswan.conf"
LOG: Final = "charon.log"

_CRYPTO: Final = "aesni openssl random nonce drbg aes sha1 sha2 hmac kdf gcm ctr ccm cmac xcbc"
"""aesni and openssl come before gcm, whose own code is five times slower (dataplane: one charon per gateway)."""

_OPTIONAL: Final = frozenset({"aesni"})
"""Not on every processor."""

_TEXT: Final = """\
charon {{
    load_modular = no
    load = {plugins}

    # 4 or 8 threads are too few with user-space ESP: VICI takes a connection and never answers.
    threads = 16

    # The first retransmission after 2 s, then less often, at most every 15 s. It never gives up before the agent
    # does: 6,000 tries last for a day, and DPD's own deadline may be long.
    retransmit_timeout = 2.0
    retransmit_base = 1.5
    retransmit_limit = 15
    retransmit_tries = 6000

    # A flood is met with cookies. A limit for half-open SAs of one peer would slow down one that has 100 connections.
    dos_protection = yes
    cookie_threshold = 30
    cookie_threshold_ip = 30
    block_threshold = 1000
    ikesa_table_size = 256
    ikesa_table_segments = 4

    # The API lets a user choose aggressive mode with a pre-shared key; without this the responder refuses it.
    i_dont_care_about_security_and_use_aggressive_mode_psk = yes

    # A peer may not send us elsewhere, nor give us an address.
    follow_redirects = no
    install_virtual_ip = no
    cache_crls = no
    install_routes = yes

    filelog {{
        linkspan {{
            path = {log}
            time_format = %Y-%m-%dT%H:%M:%S
            ike_name = yes
            default = 1
            flush_line = yes
        }}
    }}
    plugins {{
        vici {{
            socket = unix://vici
        }}
        kernel-netlink {{
            # After an attempt that traffic began and that came to nothing, the kernel asks no sooner again than this.
            # The agent gives an attempt up after 15 s.
            xfrm_acq_expires = 16
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
    """What charon loads, in this order, and nothing else."""
    esp = ["kernel-libipsec"] if backend == "user-space" else []
    return [*_CRYPTO.split(), *esp, "kernel-netlink", "socket-default", "vici", "counters"]


def allowed_plugins(backend: Backend) -> frozenset[str]:
    """What may be loaded; `charon-systemd` is the program's own part, listed beside the plugins."""
    return frozenset(plugins(backend)) | {"charon-systemd"}


def required_plugins(backend: Backend) -> frozenset[str]:
    """What has to be loaded."""
    return frozenset(plugins(backend)) - _OPTIONAL


def render(backend: Backend) -> str:
    """The configuration."""
    return _TEXT.format(plugins=" ".join(plugins(backend)), log=LOG)
