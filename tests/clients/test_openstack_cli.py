"""The openstack command against the API: version 10.5, and 7.1 for the options that 10.5 cannot send."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.api.serving import Served
from tests.clients.auth_methods import BASIC, NONE, AuthMethod, clouds_yaml
from tests.clients.conftest import SDK_WARNINGS, Connect
from tests.clients.topology import create_topology
from tests.clients.vpn_commands import NOUNS, VERBS, CommandTest, commands
from tests.harness.openstack_cli import Cli, OpenStack

pytestmark = pytest.mark.clients

basic = pytest.mark.parametrize("auth_method", [BASIC], ids=lambda auth_method: auth_method.name)
MakeCli = Callable[[OpenStack, str], Cli]


@pytest.fixture
def typed(service: Served, auth_method: AuthMethod, tmp_path: Path) -> MakeCli:
    """A function that returns the command line of a user."""

    def typed(command: OpenStack, user: str) -> Cli:
        file = tmp_path / f"{user}.yaml"
        return Cli(command, tmp_path, clouds_yaml(file, auth_method.cloud(service.url, user)))

    return typed


@pytest.fixture
def admin(typed: MakeCli, openstack_10: OpenStack) -> Cli:
    """The command line of an admin."""
    return typed(openstack_10, "admin")


@pytest.fixture
def alice(typed: MakeCli, openstack_10: OpenStack) -> Cli:
    """The command line of a tenant."""
    return typed(openstack_10, "alice")


@pytest.fixture
def ids(connect: Connect) -> dict[str, str]:
    """Ids of the router and the subnet for a VPN service."""
    topology = create_topology(connect("admin"), connect("alice"))
    return {"router": topology.router, "lan-v4": topology.subnet}


@basic
@SDK_WARNINGS
def test_all_commands(alice: Cli, ids: dict[str, str]) -> None:
    assert commands(alice) == {(*noun.words, verb) for noun in NOUNS for verb in VERBS}
    CommandTest(alice, ids, more=False).run()


@basic
@SDK_WARNINGS
def test_all_commands_of_version_7(typed: MakeCli, openstack_7: OpenStack, ids: dict[str, str]) -> None:
    """With `--lifetime` and `--dpd`."""
    alice = typed(openstack_7, "alice")
    assert commands(alice) == {(*noun.words, verb) for noun in NOUNS for verb in VERBS}
    CommandTest(alice, ids, more=True).run()


@basic
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_installed_scripts(typed: MakeCli, openstack_10: OpenStack, openstack_7: OpenStack) -> None:
    """Runs the installed scripts. The other tests use a process that has imported the client once."""
    words = ("vpn", "ike", "policy", "create", "by script", "-f", "json")
    for command, version, more in (
        (openstack_10, "10.5.", ()),
        (openstack_7, "7.1.2", ("--lifetime", "units=seconds,value=7200")),
    ):
        alice = typed(command, "alice")
        assert version in alice.run("--version").out
        done = alice.execute(*words, *more)
        assert done.code == 0, done.err
        assert json.loads(done.out)["Lifetime"]["value"] == (7200 if more else 3600)


@basic
def test_a_site_is_created_and_deleted(admin: Cli, alice: Cli) -> None:
    assert alice("network", "list") == []
    admin("network", "create", "--external", "internet")
    admin("subnet", "create", "--network", "internet", "--subnet-range", "198.51.100.0/24", "internet-v4")
    assert [row["Name"] for row in alice("network", "list", "--external")] == ["internet"]
    alice("network", "create", "lan")
    alice("subnet", "create", "--network", "lan", "--subnet-range", "10.1.0.0/24", "lan-v4")
    alice("router", "create", "router")
    alice.quietly("router", "set", "--external-gateway", "internet", "router")
    alice.quietly("router", "add", "subnet", "router", "lan-v4")
    assert len(alice("port", "list", "--router", "router")) == 2
    assert alice("router", "show", "router")["interfaces_info"][0]["ip_address"] == "10.1.0.1"

    ike = alice("vpn", "ike", "policy", "create", "ike")
    assert (ike["IKE Version"], ike["Authentication Algorithm"]) == ("v2", "sha256")
    alice("vpn", "ipsec", "policy", "create", "ipsec")
    service = alice("vpn", "service", "create", "--router", "router", "--subnet", "lan-v4", "service")
    assert (service["Ext v4 IP"], service["Status"]) == ("198.51.100.2", "PENDING_CREATE")
    assert [row["Name"] for row in alice("vpn", "service", "list")] == ["service"]
    connection = alice(
        *("vpn", "ipsec", "site", "connection", "create", "--vpnservice", "service"),
        *("--ikepolicy", "ike", "--ipsecpolicy", "ipsec", "--psk", "correct horse"),
        *("--peer-address", "203.0.113.9", "--peer-id", "203.0.113.9", "--peer-cidr", "10.9.0.0/24", "tunnel"),
    )
    assert connection["Peer CIDRs"] in ("10.9.0.0/24", ["10.9.0.0/24"])
    alice.quietly("vpn", "ipsec", "site", "connection", "set", "--mtu", "1400", "tunnel")
    assert alice("vpn", "ipsec", "site", "connection", "show", "tunnel")["MTU"] == 1400

    refused = alice.run("vpn", "service", "delete", "service")
    assert refused.code != 0
    assert "is still in use" in refused.out + refused.err
    refused = alice.run("router", "remove", "subnet", "router", "lan-v4")
    assert "is used by VPNService" in refused.out + refused.err

    alice.quietly("vpn", "ipsec", "site", "connection", "delete", "tunnel")
    alice.quietly("vpn", "service", "delete", "service")
    alice.quietly("vpn", "ike", "policy", "delete", "ike")
    alice.quietly("router", "remove", "subnet", "router", "lan-v4")
    alice.quietly("router", "delete", "router")
    assert alice("vpn", "service", "list") == alice("vpn", "ipsec", "site", "connection", "list") == []


@basic
@SDK_WARNINGS
def test_a_connection_with_certificates_is_shown(
    alice: Cli, connect: Connect, service: Served, auth_method: AuthMethod, ids: dict[str, str]
) -> None:
    """The command knows pre-shared keys only: it shows the mode, lists, sets and deletes as ever."""
    session = connect("alice").session
    root = f"{service.url}/v2.0/vpn"

    def create(path: str, key: str, **values: Any) -> str:
        answer = session.post(f"{root}/{path}", json={key: values})
        id: str = answer.json()[key]["id"]
        return id

    anchor = create("trust-anchors", "trust_anchor", source="generated")
    names = {"subject_alt_names": ["gw.example.org"]}
    certificate = create("certificates", "certificate", source="generated", issuer_id=anchor, **names)
    words = ("vpn", "ipsec", "site", "connection")
    create(
        "ipsec-site-connections",
        "ipsec_site_connection",
        name="certified",
        vpnservice_id=create("vpnservices", "vpnservice", router_id=ids["router"], subnet_id=ids["lan-v4"]),
        ikepolicy_id=create("ikepolicies", "ikepolicy"),
        ipsecpolicy_id=create("ipsecpolicies", "ipsecpolicy"),
        peer_address="203.0.113.9",
        peer_id="peer.example.org",
        peer_cidrs=["10.9.0.0/24"],
        auth_mode="certs",
        local_id="gw.example.org",
        local_certificate_id=certificate,
        trust_anchor_id=anchor,
    )
    shown = alice(*words, "show", "certified")
    assert (shown["Authentication Algorithm"], shown["Pre-shared Key"]) == ("certs", None)
    assert (shown["Peer ID"], shown["Local ID"]) == ("peer.example.org", "gw.example.org")
    assert [row["Name"] for row in alice(*words, "list")] == ["certified"]
    alice.quietly(*words, "set", "--mtu", "1400", "certified")
    assert alice(*words, "show", "certified")["MTU"] == 1400
    (read,) = connect("alice").network.vpn_ipsec_site_connections()
    assert (read.auth_mode, read.psk, read.peer_id) == ("certs", None, "peer.example.org")
    alice.quietly(*words, "delete", "certified")
    assert alice(*words, "list") == []


@pytest.mark.parametrize("auth_method", [NONE], ids=lambda auth_method: auth_method.name)
def test_auth_type_none(alice: Cli) -> None:
    """Without a catalog, clients find the API's version from the root document."""
    assert alice("network", "list") == []
    assert alice("vpn", "ike", "policy", "create", "ike")["Name"] == "ike"
    assert alice("vpn", "service", "list") == []


@basic
def test_a_wrong_password_is_refused(typed: MakeCli, openstack_10: OpenStack) -> None:
    done = typed(openstack_10, "mallory").run("network", "list")
    assert done.code != 0
    assert "requires authentication" in done.err + done.out


@basic
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_options_of_the_inventory(admin: Cli, alice: Cli) -> None:
    """Pools, name servers, host routes and tags; and what the command lists beside routers."""
    alice("network", "create", "lan")
    subnet = alice(
        *("subnet", "create", "--network", "lan", "--subnet-range", "10.1.0.0/24", "--tag", "north", "--tag", "branch"),
        *("--allocation-pool", "start=10.1.0.10,end=10.1.0.99", "--dns-nameserver", "10.1.0.53"),
        *("--host-route", "destination=10.9.0.0/16,gateway=10.1.0.1", "lan-v4"),
    )
    assert subnet["allocation_pools"] == [{"start": "10.1.0.10", "end": "10.1.0.99"}]
    assert subnet["dns_nameservers"] == ["10.1.0.53"]
    assert subnet["host_routes"] == [{"destination": "10.9.0.0/16", "nexthop": "10.1.0.1"}]
    assert sorted(subnet["tags"]) == ["branch", "north"]
    alice.quietly("subnet", "set", "--gateway", "10.1.0.254", "--dns-nameserver", "10.1.0.54", "lan-v4")
    shown = alice("subnet", "show", "lan-v4")
    assert (shown["gateway_ip"], shown["dns_nameservers"]) == ("10.1.0.254", ["10.1.0.54", "10.1.0.53"])
    alice.quietly(
        "subnet", "unset", "--tag", "branch", "--host-route", "destination=10.9.0.0/16,gateway=10.1.0.1", "lan-v4"
    )
    assert [row["Name"] for row in alice("subnet", "list", "--tags", "north")] == ["lan-v4"]
    assert alice("subnet", "list", "--any-tags", "branch,x") == []

    alice("router", "create", "--tag", "north", "router")
    alice.quietly("router", "add", "subnet", "router", "lan-v4")
    (port,) = alice("port", "list", "--fixed-ip", "ip-address=10.1.0.254")
    assert alice("port", "list", "--fixed-ip", "ip-substring=10.1.", "--fixed-ip", "subnet=lan-v4") == [port]
    assert alice("port", "list", "--fixed-ip", "ip-address=10.1.0.1") == []
    alice.quietly("port", "set", "--tag", "north", port["ID"])
    for noun in ("router", "port"):
        assert len(alice(noun, "list", "--tags", "north")) == 1
        assert alice(noun, "list", "--not-any-tags", "north,x") == []
    refused = alice.run("subnet", "set", "--gateway", "10.1.0.253", "lan-v4")
    assert "already in use by port" in refused.out + refused.err

    for words in (("floating", "ip"), ("security", "group"), ("security", "group", "rule"), ("availability", "zone")):
        # Zones of other services, which there are none of, are asked for as well without this.
        more = ("--network",) if words[-1] == "zone" else ()
        assert alice(*words, "list", *more) == []
    assert admin("network", "agent", "list") == []
    extensions = {row["Alias"] for row in alice("extension", "list", "--network")}
    assert extensions >= {"standard-attr-tag", "agent", "availability_zone", "pagination", "sorting", "project-id"}
