"""An address has one text wherever the API takes one, so that what the database compares is what the wire compares."""

from __future__ import annotations

from typing import Any

from tests.api.world import CONNECTIONS, Api, LocalSite

OUTSIDE = ("198.51.100.0/24", "2001:db8:ffff::/64")
TAKEN = "2001:db8:ffff::2"
"""The address of the first router's gateway."""
OTHER_TEXTS = (
    f"{TAKEN}%a",
    f"{TAKEN}%\x1b[2J",
    f"{TAKEN}%",
    f"{TAKEN}%1",
    f"{TAKEN}/128",
    f"{TAKEN}/64",
    TAKEN.upper(),
    "2001:db8:ffff:0::2",
    "2001:db8:ffff::0002",
    "2001:0db8:ffff:0000:0000:0000:0000:0002",
    "2001:db8:ffff::0.0.0.2",
    f" {TAKEN}",
    f"{TAKEN}\n",
    "198.51.100.02",
    "::ffff:198.51.100.2",
    "3325256706",
)


def is_refused(api: Api, method: str, path: str, body: Any) -> bool:
    """True if a request is refused as malformed."""
    status, _ = api.refused(method, path, body)
    return status == 400


def test_no_second_text_takes_anothers_address(api: Api) -> None:
    outside = api.outside(*OUTSIDE)
    victim = api.as_("bob").router(outside)
    assert [fixed["ip_address"] for fixed in victim["external_gateway_info"]["external_fixed_ips"]][1] == TAKEN
    mine, admin = api.router(outside), api.as_("admin")
    for text in OTHER_TEXTS:
        info = {"network_id": outside["id"], "external_fixed_ips": [{"ip_address": text}]}
        body = {"router": {"external_gateway_info": info}}
        for user in (api, admin):
            assert is_refused(user, "POST", "/routers", body), text
            assert is_refused(user, "PUT", f"/routers/{mine['id']}", body), text
    # The control: the text that the address has is taken as such, and is in use.
    info = {"network_id": outside["id"], "external_fixed_ips": [{"ip_address": TAKEN}]}
    body = {"router": {"external_gateway_info": info}}
    assert admin.refused("POST", "/routers", body) == (409, "IpAddressGenerationFailure")


def test_a_subnets_gateway_has_one_text(api: Api) -> None:
    network = api.create("/networks", "network", name="lan")
    body = {"network_id": network["id"], "cidr": "fd00:5::/64"}
    for text in ("fd00:5::1%a", "FD00:5::1", "fd00:5:0::1", "fd00:5::1/64", "::ffff:10.0.0.1"):
        assert is_refused(api, "POST", "/subnets", {"subnet": body | {"gateway_ip": text}}), text
    assert api.create("/subnets", "subnet", **body, gateway_ip="fd00:5::1")["gateway_ip"] == "fd00:5::1"


RANGES = ("FD00:5::/64", "fd00:5:0::/64", "fd00:5::%a/64", "fd00:5::/064", "::ffff:10.0.0.0/120", "10.5.0.0/024")


def test_a_range_has_one_text(site: LocalSite) -> None:
    api = site.api
    network = api.create("/networks", "network", name="lan")
    connection = site.connection()
    for text in RANGES:
        assert is_refused(api, "POST", "/subnets", {"subnet": {"network_id": network["id"], "cidr": text}}), text
        group = {"type": "cidr", "endpoints": [text]}
        assert is_refused(api, "POST", "/vpn/endpoint-groups", {"endpoint_group": group}), text
        body = {"ipsec_site_connection": site.values(peer_cidrs=[text])}
        assert is_refused(api, "POST", CONNECTIONS, body), text
        change = {"ipsec_site_connection": {"peer_cidrs": [text]}}
        assert is_refused(api, "PUT", f"{CONNECTIONS}/{connection['id']}", change), text
    # The control: host bits are no other text.
    api.update(f"{CONNECTIONS}/{connection['id']}", "ipsec_site_connection", peer_cidrs=["10.5.0.9/24"])


PEERS = (
    "2001:DB8::9",
    "2001:db8:0::9",
    "2001:db8::9%a",
    "2001:db8::9/128",
    "203.0.113.09",
    "::ffff:203.0.113.9",
    "0xcb007109",
    "0Xcb007109.",
    "peer.0x9",
    "3405803785",
)


def test_a_peers_address_has_one_text(api: Api) -> None:
    site = LocalSite(api, *OUTSIDE)
    connection = site.connection(peer_address="2001:db8::9")
    for text in PEERS:
        assert site.refused(peer_address=text) == (400, "VPNPeerAddressNotResolved"), text
        change = {"ipsec_site_connection": {"peer_address": text}}
        assert is_refused(api, "PUT", f"{CONNECTIONS}/{connection['id']}", change), text
    # The control: a name that only looks like one of them.
    site.connection(peer_address="0x9.example.org", peer_id="other", peer_cidrs=["10.8.0.0/24"])
