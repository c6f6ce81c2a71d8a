"""The VPN pages of Horizon, in a browser: lists, creates, edits and deletes each of the five VPN resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.api.serving import Served
from tests.clients.auth_methods import PASSWORD, V3
from tests.clients.conftest import SDK_WARNINGS, Connect
from tests.clients.topology import create_topology, obedient_node
from tests.harness import browser as browsers
from tests.harness import environments
from tests.harness.browser import Browser
from tests.harness.world import until

pytestmark = [
    pytest.mark.whole,
    pytest.mark.clients,
    pytest.mark.timeout(600),
    pytest.mark.parametrize("auth_method", [V3], ids=["v3password"]),
    pytest.mark.parametrize("database", ["sqlite"], indirect=True),
    SDK_WARNINGS,
]

TABS: Final = {
    "ikepolicy": "ikepolicies",
    "ipsecpolicy": "ipsecpolicies",
    "vpnservice": "vpnservices",
    "endpoint_group": "endpointgroups",
    "ipsec_site_connection": "ipsecsiteconnections",
}
"""The tab of each resource."""
ACTIONS: Final = {"endpoint_group": "endpointgroup", "ipsec_site_connection": "ipsecsiteconnection"}
"""The name in actions and URLs, where it is not that of the resource."""
Values = dict[str, str]


class Pages:
    """The VPN pages, for a user who has logged in."""

    def __init__(self, browser: Browser, url: str, user: str) -> None:
        self.browser = browser
        self.url = url
        browser.open(f"{url}/auth/login/?next=/project/vpn/")
        browser.type("#id_username", user)
        browser.type("#id_password", PASSWORD)
        browser.press("#loginBtn")
        until(lambda: browser.url.endswith("/project/vpn/"), 60.0, lambda: browser.url)

    def show(self, resource: str) -> None:
        """Open the list of a resource."""
        self.browser.open(f"{self.url}/project/vpn/?tab=vpntabs__{TABS[resource]}")

    def row(self, resource: str, id: str) -> str:
        """Return the row of an object in its list."""
        self.show(resource)
        return self.browser.text(f"tr[data-object-id='{id}']")

    def create(self, resource: str, values: Values) -> None:
        """Fill in the form for a new object, which the list's button opens, and send it."""
        action = f"add{ACTIONS.get(resource, resource)}"
        self.show(resource)
        self.browser.press(f"a[id$='__action_{action}']")
        self._send(values, f'"{values["name"]}"')

    def edit(self, resource: str, id: str, values: Values) -> None:
        """Change values in the form that the row's button opens."""
        self.show(resource)
        self.browser.press(f"tr[data-object-id='{id}'] a[href*='/update_']")
        self._send(values, f"{values['name']} was successfully updated")

    def delete(self, resource: str, id: str) -> None:
        """Delete an object with the row's button and the question that follows."""
        self.show(resource)
        self.browser.press(f"tr[data-object-id='{id}'] button[id$='__action_delete{ACTIONS.get(resource, resource)}']")
        self.browser.press(".modal-footer .btn-danger")
        self._succeeded("Scheduled deletion")

    def _send(self, values: Values, message: str) -> None:
        for name, value in values.items():
            checkbox = f"#modal_wrapper input[type=checkbox][name='{name}'][value='{value}']"
            # The first field waits for the form.
            field = f"#modal_wrapper form [name='{name}']"
            self.browser.text(field)
            if self.browser.has(checkbox):
                self.browser.press(checkbox)
            else:
                self.browser.set(field, value)
        self.browser.press("#modal_wrapper form [type=submit]")
        self._succeeded(message)

    def _succeeded(self, message: str) -> None:
        self.browser.text(f"//*[contains(@class, 'alert-success')][contains(., '{message}')]")


@pytest.fixture
def pages(service: Served, tmp_path: Path) -> Iterator[Pages]:
    """Horizon and a browser, in which alice has logged in; with a node that makes everything ACTIVE."""
    folders = [tmp_path / name for name in ("horizon", "browser")]
    for folder in folders:
        folder.mkdir()
    with (
        obedient_node(service),
        environments.serving("horizon", folders[0], "/auth/login/", f"{service.url}/identity/v3") as url,
        browsers.running(folders[1]) as browser,
    ):
        yield Pages(browser, url, "alice")


POLICY: Final[Values] = {"auth_algorithm": "sha384", "encryption_algorithm": "aes-256", "pfs": "group20"}
PSK: Final = "correct horse battery staple"


def test_every_resource_is_listed_created_edited_and_deleted(pages: Pages, connect: Connect) -> None:
    topology = create_topology(connect("admin"), connect("alice"))
    network = connect("alice").network
    find: Final[dict[str, Callable[[], Any]]] = {
        "ikepolicy": network.vpn_ike_policies,
        "ipsecpolicy": network.vpn_ipsec_policies,
        "vpnservice": network.vpn_services,
        "endpoint_group": network.vpn_endpoint_groups,
        "ipsec_site_connection": network.vpn_ipsec_site_connections,
    }

    def created(resource: str, name: str, values: Values) -> Any:
        """Create an object in the pages; return it as the API shows it."""
        pages.create(resource, {"name": name} | values)
        (found,) = [item for item in find[resource]() if item.name == name]
        assert name in pages.row(resource, found.id)
        return found

    def edited(resource: str, id: str, values: Values) -> Any:
        """Edit an object in the pages, and give it another name; return it as the API shows it."""
        until(lambda: "PENDING" not in pages.row(resource, id), 20.0)
        pages.edit(resource, id, {"name": f"other {resource}"} | values)
        assert f"other {resource}" in pages.row(resource, id)
        (found,) = [item for item in find[resource]() if item.id == id]
        return found

    ike = created("ikepolicy", "ike", POLICY | {"ike_version": "v2", "lifetime_value": "7200"})
    assert (ike.encryption_algorithm, ike.pfs, ike.lifetime["value"]) == ("aes-256", "group20", 7200)
    ike = edited("ikepolicy", ike.id, {"auth_algorithm": "sha512", "lifetime_value": "3600"})
    assert (ike.auth_algorithm, ike.encryption_algorithm, ike.lifetime["value"]) == ("sha512", "aes-256", 3600)

    ipsec = created("ipsecpolicy", "ipsec", POLICY | {"transform_protocol": "esp"})
    assert (ipsec.auth_algorithm, ipsec.encryption_algorithm, ipsec.pfs) == ("sha384", "aes-256", "group20")
    ipsec = edited("ipsecpolicy", ipsec.id, {"encryption_algorithm": "aes-128-gcm-16"})
    assert (ipsec.encryption_algorithm, ipsec.transform_protocol) == ("aes-128-gcm-16", "esp")

    service = created("vpnservice", "service", {"router_id": topology.router})
    assert (service.router_id, service.subnet_id) == (topology.router, None)
    assert edited("vpnservice", service.id, {"description": "words"}).description == "words"

    groups = {
        "local_ep_group_id": created("endpoint_group", "local", {"type": "subnet", "subnets": topology.subnet}),
        "peer_ep_group_id": created("endpoint_group", "peer", {"type": "cidr", "cidrs": "10.9.0.0/24, 10.8.0.0/24"}),
    }
    assert groups["local_ep_group_id"].endpoints == [topology.subnet]
    assert groups["peer_ep_group_id"].endpoints == ["10.9.0.0/24", "10.8.0.0/24"]
    assert edited("endpoint_group", groups["peer_ep_group_id"].id, {"description": "words"}).description == "words"

    used = {"vpnservice_id": service.id, "ikepolicy_id": ike.id, "ipsecpolicy_id": ipsec.id}
    peer = {"peer_address": "198.51.100.77", "peer_id": "198.51.100.77", "psk": PSK}
    connection = created("ipsec_site_connection", "connection", used | peer | {key: groups[key].id for key in groups})
    assert (connection.psk, connection.mtu, connection.peer_ep_group_id) == (PSK, 1500, groups["peer_ep_group_id"].id)
    changes: Values = {"mtu": "1400", "dpd_action": "restart", "dpd_interval": "10", "dpd_timeout": "60"}
    connection = edited("ipsec_site_connection", connection.id, changes)
    assert (connection.psk, connection.mtu) == (PSK, 1400)
    assert connection.dpd == {"action": "restart", "interval": 10, "timeout": 60}

    # One with a subnet of the service and CIDRs of the peer: the form sends empty text for the groups.
    other = created("vpnservice", "with a subnet", {"router_id": topology.router, "subnet_id": topology.subnet})
    values = used | peer | {"vpnservice_id": other.id, "peer_cidrs": "10.7.0.0/24", "peer_id": "another"}
    second = created("ipsec_site_connection", "cidrs", values)
    assert (second.peer_cidrs, second.local_ep_group_id) == (["10.7.0.0/24"], None)

    for item in (connection, second):
        pages.delete("ipsec_site_connection", item.id)
    until(lambda: not list(network.vpn_ipsec_site_connections()), 20.0)
    for item in (service, other):
        pages.delete("vpnservice", item.id)
    for item in groups.values():
        pages.delete("endpoint_group", item.id)
    pages.delete("ikepolicy", ike.id)
    pages.delete("ipsecpolicy", ipsec.id)
    until(lambda: not any(list(listed()) for listed in find.values()), 20.0)
