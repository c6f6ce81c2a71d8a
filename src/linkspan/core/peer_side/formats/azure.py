"""Azure VPN Gateway, in Terraform. Azure identifies itself by the address of its gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from linkspan.core.ipsec.algorithms import is_aead
from linkspan.core.peer_side.device import Alphabet, Device, within
from linkspan.core.peer_side.formats import terraform
from linkspan.core.peer_side.formats.format import ConfigFile, PeerFormat, key_of, suites, version_of, word
from linkspan.core.peer_side.formats.terraform import Argument, Expression
from linkspan.core.peer_side.site_config import SiteConfig

TITLE: Final = "Azure VPN Gateway, Terraform"
BY_HAND: Final = {
    "LOCATION": "the region, such as westeurope",
    "RESOURCE_GROUP": "the resource group of the gateway",
    "VPN_GATEWAY_ID": "the id of the route-based virtual network gateway",
}
_BLOCK: Final = {"3des": "DES3", "aes-128": "AES128", "aes-192": "AES192", "aes-256": "AES256"}
_IKE_CIPHERS: Final = _BLOCK | {"aes-128-gcm-16": "GCMAES128", "aes-256-gcm-16": "GCMAES256"}
_CIPHERS: Final = _IKE_CIPHERS | {"aes-192-gcm-16": "GCMAES192"}
_IKE_HASHES: Final = {"sha1": "SHA1", "sha256": "SHA256", "sha384": "SHA384"}
_HASHES: Final = {"sha1": "SHA1", "sha256": "SHA256"}
_IKE_GROUPS: Final = {
    "group2": "DHGroup2",
    "group14": "DHGroup14",
    "group19": "ECP256",
    "group20": "ECP384",
    "group24": "DHGroup24",
}
_GROUPS: Final = {
    "group2": "PFS2",
    "group14": "PFS2048",
    "group19": "ECP256",
    "group20": "ECP384",
    "group24": "PFS24",
}
DEVICE: Final = Device(
    aggressive=False,
    ike_encryption=_IKE_CIPHERS,
    ike_integrity=_IKE_HASHES,
    ike_groups=_IKE_GROUPS,
    encryption=_CIPHERS,
    integrity=_HASHES,
    groups=_GROUPS,
    pairs="one a child",
    ipv6=False,
    identities=frozenset({"ipv4"}),
    addresses_are_identities=True,
    psk=Alphabet(r"[!-~]([ -~]{0,126}[!-~])?", "1 to 128 printable ASCII characters"),
    # Azure's lifetime of IKE is fixed.
    ike_lifetime=(28_800, 28_800),
    child_lifetime=(300, 172_799),
    kilobytes=(1024, 2_147_483_647),
)


def write(config: SiteConfig) -> tuple[ConfigFile, ...]:
    """The file."""
    return terraform.file(TITLE, BY_HAND, _resources(config))


def _resources(config: SiteConfig) -> Iterator[str]:
    name = terraform.label(config)
    where: dict[str, Argument] = {
        "name": word(config),
        "location": "LOCATION",
        "resource_group_name": "RESOURCE_GROUP",
    }
    remote = tuple(dict.fromkeys(right for _, right in config.pairs))
    yield from terraform.resource(
        "azurerm_local_network_gateway",
        name,
        where | {"gateway_address": config.remote_address, "address_space": remote},
    )
    arguments: dict[str, Argument] = {
        "type": "IPsec",
        "virtual_network_gateway_id": "VPN_GATEWAY_ID",
        "local_network_gateway_id": Expression(f"azurerm_local_network_gateway.{name}.id"),
        "shared_key": key_of(config),
        "connection_protocol": f"IKEv{version_of(config)}",
        "connection_mode": "InitiatorOnly" if config.initiates else "Default",
        "use_policy_based_traffic_selectors": True,
        "dpd_timeout_seconds": within(config.dpd_timeout or 45, (9, 3600)),
    }
    inner = (*terraform.block("ipsec_policy", _policy(config)), *_selectors(config))
    yield from terraform.resource("azurerm_virtual_network_gateway_connection", name, where | arguments, inner)


def _policy(config: SiteConfig) -> dict[str, Argument]:
    ike, child = suites(config)
    cipher = _CIPHERS[child.encryption]
    policy: dict[str, Argument] = {
        "ike_encryption": _IKE_CIPHERS[ike.encryption],
        "ike_integrity": _IKE_HASHES[ike.integrity],
        "dh_group": _IKE_GROUPS[ike.group],
        "ipsec_encryption": cipher,
        "ipsec_integrity": cipher if is_aead(child.encryption) else _HASHES[child.integrity],
        "pfs_group": _GROUPS[child.group],
        "sa_lifetime": within(config.child_lifetime or 27_000, DEVICE.child_lifetime),
    }
    if config.child_kilobytes and DEVICE.kilobytes:
        policy["sa_datasize"] = within(config.child_kilobytes, DEVICE.kilobytes)
    return policy


def _selectors(config: SiteConfig) -> Iterator[str]:
    for left, right in config.pairs:
        addresses: dict[str, Argument] = {"local_address_cidrs": (left,), "remote_address_cidrs": (right,)}
        yield from terraform.block("traffic_selector_policy", addresses)


FORMAT: Final = PeerFormat(
    name="azure",
    title=TITLE,
    mark="syntax-checked",
    evidence="a parser of HCL 2 reads it; the arguments are those of the manual",
    device=DEVICE,
    write=write,
    by_hand=BY_HAND,
)
