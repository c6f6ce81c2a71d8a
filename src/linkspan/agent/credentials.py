"""The private keys, roots, post-quantum keys and revocation lists in the charon of one gateway.

They are loaded before the connections that need them, and keys are unloaded once nothing needs them: charon lets a key
sign as long as it has it. What a running charon has is compared after a restart of the agent. Used only on the thread
of the gateway's worker. Methods raise DriverError.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from linkspan.agent.x509 import RevocationList
from linkspan.core.ipsec.config import IkeConfig
from linkspan.core.secret import Secret
from linkspan.core.tunnel import credentials
from linkspan.core.tunnel.tunnel import Tunnel, configs
from linkspan.drivers.ports import Charon, DriverError, Unresponsive

LEFTOVERS = 500
"""Certificates that may stay in charon though nothing needs them: no command unloads a single one, and each takes some
14 kB. More are unloaded together, with everything else, which is loaded again at once."""
AUTHORITIES = 12
"""CAs in charon beyond which leftovers are unloaded: a responder asks each peer for certificates of all of them, and
with more than 20 requests in a message strongSwan refuses it in IKEv1."""


class GatewayCredentials:
    """`crls`: the revocation lists that count."""

    def __init__(self, gateway_id: str, driver: Charon) -> None:
        self._driver = driver
        self._log = structlog.get_logger("agent.credentials").bind(gateway=gateway_id)
        self._secrets: dict[str, Secret] = {}
        self._refused: dict[str, str] = {}
        self._keys: set[str] = set()
        self._roots: set[str] = set()
        self._ppks: dict[str, Secret] = {}
        self._unknown_ppks: set[str] = set()
        self._certificates: set[str] = set()
        self._authorities: set[str] = set()
        self._leftovers = 0
        self._loaded_crls = frozenset[RevocationList]()
        self.crls = frozenset[RevocationList]()

    def started(self, fresh: bool) -> None:
        """charon was started and has nothing, or a running one was adopted."""
        self._keys = set() if fresh else set(self._driver.keys())
        self._unknown_ppks = set() if fresh else set(self._driver.ppks())
        self._roots, self._ppks, self._refused = set(), {}, {}
        self._certificates, self._authorities = set(), set()
        self._leftovers = 0 if fresh or not self._keys else len(self._driver.certificates())
        self._loaded_crls = frozenset()

    def load(self, tunnels: Iterable[Tunnel]) -> None:
        """Load what these tunnels of the gateway need, and unload keys that they do not need."""
        every = list(tunnels)
        needed = credentials.needed(every)
        for id, key in credentials.private_keys(every).items():
            if self._secrets.get(id) != key:
                self._secrets[id] = key
                self._refused.pop(id, None)
        self._load_keys(needed.keys)
        for root in needed.roots - self._roots:
            self._driver.load_authority(root)
            self._roots.add(root)
        self._load_ppks(needed.ppks)
        self._load_crls()
        for used in (config.certificates for tunnel in every for config in configs(tunnel)):
            if used:
                self._certificates |= {*used.chain}
                self._authorities |= {*used.issuers, *used.roots}

    def forget_unused(self, tunnels: Iterable[Tunnel]) -> None:
        """Forget the private keys of connections that are gone."""
        kept = {config.certificates.key_id for tunnel in tunnels for config in configs(tunnel) if config.certificates}
        self._secrets = {id: key for id, key in self._secrets.items() if id in kept}

    def loaded_crls(self) -> tuple[bytes, ...]:
        """Return the revocation lists in charon, in DER."""
        return self._driver.crls()

    def certificates(self) -> tuple[bytes, ...]:
        """Return the certificates in charon, in DER, those that peers have sent among them."""
        return self._driver.certificates()

    def forget_peers(self) -> None:
        """Let charon judge the next attempt of a peer by the certificates that it sends then."""
        self._driver.forget_peers()

    def refusal(self, config: IkeConfig) -> str:
        """Why an IKE connection cannot have its private key; empty if it has it, or needs none."""
        return self._refused.get(config.certificates.key_id, "") if config.certificates else ""

    def should_clean(self, tunnels: Iterable[Tunnel]) -> bool:
        """True if so many certificates are left over that it is time to unload everything, or one is in the way."""
        if not self._certificates and not self._authorities:
            return False
        if self._has_namesake():
            return True
        every = [config.certificates for tunnel in tunnels for config in configs(tunnel) if config.certificates]
        leaves = {text for each in every for text in each.chain}
        authorities = {text for each in every for text in (*each.issuers, *each.roots)}
        is_crowded = len(self._authorities) > AUTHORITIES and not self._authorities <= authorities
        return is_crowded or self._leftovers + len(self._certificates - leaves) > LEFTOVERS

    def clean(self, tunnels: Iterable[Tunnel]) -> None:
        """Unload everything, pre-shared keys too, and load what these tunnels need. All connections have to be loaded
        again afterwards."""
        self._log.info("unloading certificates that nothing needs any more", certificates=len(self._certificates))
        self._driver.clear_credentials()
        self.started(fresh=True)
        self.load(tunnels)

    def _load_crls(self) -> None:
        if fresh := self.crls - self._loaded_crls:
            self._driver.load_crls(sorted(each.der for each in fresh))
        self._loaded_crls |= fresh

    def _has_namesake(self) -> bool:
        """True if charon has the list of another CA of the same name as one that is to be loaded.

        It takes both for lists of one CA, and the one with the lower number counts for nothing, without a word.
        """
        loaded = {each.name: each.issuer for each in self._loaded_crls}
        return any(loaded.get(each.name, each.issuer) != each.issuer for each in self.crls - self._loaded_crls)

    def _load_keys(self, needed: frozenset[str]) -> None:
        # A key that is replaced in IKEv1 must be gone before the new one is used, so it goes first.
        for id in self._keys - needed:
            self._driver.unload_key(id)
            self._keys.discard(id)
        self._refused = {id: why for id, why in self._refused.items() if id in needed}
        for id in needed - self._keys - self._refused.keys():
            self._load_key(id)

    def _load_key(self, id: str) -> None:
        try:
            loaded = self._driver.load_key(self._secrets[id])
        except Unresponsive:
            raise
        except DriverError as error:
            self._refused[id] = f"charon refuses the private key of the certificate: {error}"
            return
        self._keys.add(loaded)
        if loaded != id:
            self._refused[id] = "the private key does not fit the certificate: set local_certificate_id to another one"

    def _load_ppks(self, needed: dict[str, Secret]) -> None:
        for id in (self._ppks.keys() | self._unknown_ppks) - needed.keys():
            self._driver.unload_ppk(id)
        for id, key in needed.items():
            if self._ppks.get(id) != key:
                self._driver.load_ppk(id, key)
        self._ppks, self._unknown_ppks = dict(needed), set()
