"""Peer networks and the networks attached to the same router, in either order."""

from __future__ import annotations

import pytest

from linkspan.core.checks import attached_networks
from linkspan.core.errors import ApiError

ATTACHED = {"lan": "10.1.0.0/24", "dmz": "10.60.0.9/24", "six": "fd00:60::/64"}
HELD = ["10.60.0.0/24", "10.60.0.128/25", "10.60.0.7/32", "10.60.0.77/24", "fd00:60::/64", "fd00:60::7/128"]
NOT_HELD = ["10.60.0.0/23", "10.0.0.0/8", "0.0.0.0/0", "10.61.0.0/24", "fd00::/16", "::/0", "fd00:61::/64"]


@pytest.mark.parametrize("cidr", HELD)
def test_a_peer_network_in_an_attached_one_is_refused_in_either_order(cidr: str) -> None:
    with pytest.raises(ApiError, match="attached to the same router") as caught:
        attached_networks.check_peer_networks(["192.0.2.0/24", cidr], ATTACHED)
    assert (caught.value.status, caught.value.type) == (409, "IPsecSiteConnectionConflict")
    subnet_id = "six" if ":" in cidr else "dmz"
    assert subnet_id in caught.value.message
    networks = {"c1": ["192.0.2.0/24"], "c2": ["198.51.100.0/24", cidr]}
    with pytest.raises(ApiError, match="connection c2 on this router") as caught:
        attached_networks.check_interface(subnet_id, ATTACHED[subnet_id], networks)
    assert (caught.value.status, caught.value.type) == (409, "SubnetInUseByIPsecSiteConnection")


@pytest.mark.parametrize("cidr", NOT_HELD)
def test_a_wider_or_another_one_is_accepted_in_either_order(cidr: str) -> None:
    attached_networks.check_peer_networks([cidr], ATTACHED)
    for subnet_id, attached in ATTACHED.items():
        attached_networks.check_interface(subnet_id, attached, {"c": [cidr]})
