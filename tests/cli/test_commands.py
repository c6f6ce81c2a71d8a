"""The command line against the real API, as a tenant uses it: objects are given by name."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from linkspan.bootstrap import command_line
from linkspan.cli import commands
from tests.cli.conftest import Linkspan, Service
from tests.harness.authorities import DAY, Ca, key_pem, new_key, pem


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:6]}"


@pytest.fixture(scope="session")
def site_names() -> dict[str, str]:
    return {name: unique(name) for name in ("net", "lan", "router", "service", "ike", "ipsec")}


@pytest.fixture
def site(linkspan: Linkspan, site_names: dict[str, str]) -> dict[str, str]:
    """The names of a VPN service with its router, subnet and policies, created once through the command line."""
    names = site_names
    if not linkspan.json("service", "list", "--filter", f"name={names['service']}"):
        linkspan.as_user("admin")("network", "create", names["net"], "--external")
        outside = ("--network", names["net"], "--cidr", "203.0.113.0/24")
        linkspan.as_user("admin")("subnet", "create", unique("outside"), *outside)
        linkspan("network", "create", names["lan"])
        linkspan("subnet", "create", names["lan"], "--network", names["lan"], "--cidr", "10.9.0.0/24")
        linkspan("router", "create", names["router"], "--external-gateway", names["net"])
        linkspan("router", "add-interface", names["router"], names["lan"])
        linkspan("service", "create", names["service"], "--router", names["router"], "--subnet", names["lan"])
        linkspan("ike-policy", "create", names["ike"], "--lifetime", "units=seconds,value=7200")
        linkspan("ipsec-policy", "create", names["ipsec"], "--pfs", "group19")
    return names


def connect(site: dict[str, str], name: str, *more: str, third: int = 77) -> list[str]:
    # Connections of one gateway need different peers.
    peer = f"198.51.100.{third}"
    return [
        "connection", "create", name,
        "--service", site["service"], "--ike-policy", site["ike"], "--ipsec-policy", site["ipsec"],
        "--peer-address", peer, "--peer-id", peer, "--peer-cidr", f"10.{third}.0.0/24",
        *more,
    ]  # fmt: skip


def test_the_audit_trail_is_listed(linkspan: Linkspan) -> None:
    name = unique("ike")
    id = linkspan.json("ike-policy", "create", name)["id"]
    linkspan("ike-policy", "delete", name)
    newest = linkspan.json("audit", "list", "--object", id)
    assert [(entry["action"], entry["fields"]) for entry in newest] == [("delete", []), ("create", ["name"])]
    assert id in linkspan("audit", "list", "--limit", "2", "--resource", "ike_policy")


def test_a_policy_is_created_listed_shown_changed_and_deleted(linkspan: Linkspan) -> None:
    name = unique("ike")
    policy = linkspan.json("ike-policy", "create", name, "--ike-version", "v1", "--description", "a b")
    assert (policy["name"], policy["ike_version"], policy["description"], policy["pfs"]) == (
        name,
        "v1",
        "a b",
        "group14",
    )
    assert policy in linkspan.json("ike-policy", "list")
    assert linkspan.json("ike-policy", "show", name) == linkspan.json("ike-policy", "show", policy["id"]) == policy
    assert linkspan("ike-policy", "set", name, "--name", f"{name}2", "--pfs", "group20") == ""
    assert linkspan.json("ike-policy", "show", f"{name}2")["pfs"] == "group20"
    assert linkspan("ike-policy", "delete", f"{name}2") == ""
    assert f"no ike policy with the name or id '{name}2'" in linkspan.fails("ike-policy", "show", f"{name}2")


def test_weak_algorithms_are_accepted_with_a_warning(linkspan: Linkspan) -> None:
    name = unique("weak")
    linkspan("ipsec-policy", "create", name, "--auth-algorithm", "sha1", "--pfs", "group5")
    assert linkspan.errors == "warning: weak: auth_algorithm sha1, pfs group5\n"
    linkspan("ipsec-policy", "set", name, "--pfs", "group2")
    assert linkspan.errors == "warning: weak: pfs group2\n"
    linkspan("ipsec-policy", "set", name, "--auth-algorithm", "sha256", "--pfs", "group14")
    assert linkspan.errors == ""
    linkspan("ike-policy", "create", unique("strong"))
    assert linkspan.errors == ""


def test_tables_in_a_pipe_are_plain_text_without_truncation(linkspan: Linkspan, site: dict[str, str]) -> None:
    lines = linkspan("service", "list").splitlines()
    assert lines[0].split() == ["name", "status", "router_id", "subnet_id", "external_v4_ip"]
    assert any(line.startswith(site["service"]) for line in lines[1:])
    shown = dict(
        line.split(None, 1) for line in linkspan("ike-policy", "show", site["ike"]).splitlines() if " " in line
    )
    assert shown["lifetime"] == "units=seconds, value=7200"
    assert "\x1b" not in "".join(lines)


def test_references_are_given_by_name(linkspan: Linkspan, site: dict[str, str]) -> None:
    service = linkspan.json("service", "show", site["service"])
    assert service["router_id"] == linkspan.json("router", "show", site["router"])["id"]
    assert service["subnet_id"] == linkspan.json("subnet", "show", site["lan"])["id"]
    assert service["external_v4_ip"].startswith("203.0.113.")


def test_a_connection_with_many_options(linkspan: Linkspan, site: dict[str, str], tmp_path: Path) -> None:
    name = unique("conn")
    key = tmp_path / "psk"
    key.write_text("a very secret key\n")
    more = ("--psk-file", str(key), "--peer-cidr", "10.78.0.0/24", "--dpd", "action=restart,interval=5,timeout=60")
    connection = linkspan.json(*connect(site, name, *more, "--initiator", "response-only", "--no-admin-state-up"))
    assert connection["psk"] == "***"
    assert connection["peer_cidrs"] == ["10.77.0.0/24", "10.78.0.0/24"]
    assert connection["dpd"] == {"action": "restart", "interval": 5, "timeout": 60}
    assert (connection["initiator"], connection["admin_state_up"]) == ("response-only", False)
    assert linkspan.json("connection", "show", name, "--show-secrets")["psk"] == "a very secret key"
    assert linkspan.as_user("reader").json("connection", "show", name, "--show-secrets")["psk"] is None
    linkspan("connection", "set", name, "--dpd", "timeout=90", "--mtu", "1400")
    changed = linkspan.json("connection", "show", name)
    assert changed["dpd"] == {"action": "restart", "interval": 5, "timeout": 90}
    assert changed["mtu"] == 1400
    assert "a very secret key" not in linkspan("connection", "list", "--long")
    board = linkspan.json("status")
    assert next(row for row in board["connections"] if row["connection"] == name)["peer"] == "198.51.100.77"
    assert name in linkspan("status")
    linkspan("connection", "delete", name)


def test_a_tunnel_with_certificates(linkspan: Linkspan, site: dict[str, str]) -> None:
    """The commands of docs/certificates.md."""
    anchor, left, tunnel = unique("lab"), unique("left"), unique("to-right")
    linkspan("trust-anchor", "create", anchor, "--source", "generated")
    named = ("--subject-alt-name", "left.example.org", "--subject-alt-name", "192.0.2.1")
    linkspan("certificate", "create", left, "--source", "generated", "--issuer", anchor, *named)
    more = ("--auth-mode", "certs", "--local-certificate", left, "--trust-anchor", anchor)
    linkspan(*connect(site, tunnel, *more, "--local-id", "left.example.org", third=91))
    shown = linkspan.json("certificate", "show", left)
    connection = linkspan.json("connection", "show", tunnel)
    assert (shown["status"], shown["in_use_by"]) == ("valid", [connection["id"]])
    assert (connection["auth_mode"], connection["local_certificate_id"]) == ("certs", shown["id"])
    listed = linkspan("certificate", "list", "--filter", "status=valid")
    assert "left.example.org, 192.0.2.1" in listed
    linkspan("connection", "delete", tunnel)


def test_the_ca_of_a_project(linkspan: Linkspan, tmp_path: Path) -> None:
    name, branch = unique("lab"), unique("branch")
    root = linkspan("ca", "init", name)
    assert root == linkspan.json("trust-anchor", "show", name)["ca_bundle"]
    made = linkspan.json("certificate", "create", branch, "--subject", "CN=branch")
    (tmp_path / "branch.csr").write_text(made["csr"])
    issued = linkspan("ca", "issue", name, f"@{tmp_path}/branch.csr")
    (tmp_path / "branch.pem").write_text(issued)
    linkspan("certificate", "set", branch, "--certificate", f"@{tmp_path}/branch.pem")
    assert linkspan.json("certificate", "show", branch)["status"] == "valid"
    linkspan("ca", "revoke", name, branch)
    assert linkspan.json("certificate", "show", branch)["status"] == "revoked"
    linkspan("ca", "revoke", name, f"@{tmp_path}/branch.pem")


def test_the_list_of_certificates_warns_of_those_that_end(linkspan: Linkspan, tmp_path: Path) -> None:
    ca, name, anchor = Ca(), unique("gw"), unique("example")
    made = linkspan.json("certificate", "create", name, "--subject-alt-name", "gw.example.org")
    (tmp_path / "ca.pem").write_text(ca.pem)
    (tmp_path / "gw.pem").write_text(ca.answer(made["csr"], begin=-300 * DAY, end=10 * DAY))
    linkspan("trust-anchor", "create", anchor, "--ca-bundle", f"@{tmp_path}/ca.pem")
    linkspan("certificate", "set", name, "--certificate", f"@{tmp_path}/gw.pem")
    linkspan("certificate", "list")
    assert f"warning: certificate {name} ends on " in linkspan.errors
    assert "in less than 14 days: renew it\n" in linkspan.errors
    linkspan("trust-anchor", "list")
    assert "warning" not in linkspan.errors


def test_a_certificate_of_another_ca(linkspan: Linkspan, tmp_path: Path) -> None:
    ca, name, anchor = Ca(), unique("gw"), unique("example")
    subject = ("--subject", "C=CH, O=Example, CN=gw", "--subject-alt-name", "gw.example.org")
    made = linkspan.json("certificate", "create", name, "--key-algorithm", "ecdsa-p384", *subject)
    (tmp_path / "ca.pem").write_text(ca.pem)
    (tmp_path / "gw.pem").write_text(ca.answer(made["csr"]))
    linkspan("trust-anchor", "create", anchor, "--ca-bundle", f"@{tmp_path}/ca.pem")
    linkspan("certificate", "set", name, "--certificate", f"@{tmp_path}/gw.pem")
    assert linkspan.json("certificate", "show", name)["status"] == "valid"
    crl = ca.crl()
    (tmp_path / "crl.pem").write_text(crl)
    linkspan("trust-anchor", "set", anchor, "--crl", f"@{tmp_path}/crl.pem", "--revocation", "strict")
    assert linkspan.json("trust-anchor", "show", anchor)["crl"] == crl
    key = new_key()
    (tmp_path / "own.pem").write_text(pem(ca.issue("gw", key=key)))
    (tmp_path / "own.key").write_text(key_pem(key))
    files = ("--certificate", f"@{tmp_path}/own.pem", "--private-key-file", f"{tmp_path}/own.key")
    own = linkspan.json("certificate", "create", unique("own"), "--source", "imported", *files)
    assert (own["status"], own["private_key"]) == ("valid", None)


def test_a_secret_from_standard_input(
    linkspan: Linkspan, site: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = unique("conn")
    monkeypatch.setattr("sys.stdin", io.StringIO("from standard input\n"))
    linkspan(*connect(site, name, "--psk", "-", third=80))
    assert linkspan.errors == ""
    assert linkspan.json("connection", "show", name, "--show-secrets")["psk"] == "from standard input"
    linkspan("connection", "set", name, "--psk", "visible")
    assert "visible to every user of this machine" in linkspan.errors
    assert "warning: the pre-shared key is short" in linkspan.errors
    linkspan("connection", "delete", name)


def test_the_error_for_an_ambiguous_name_lists_the_ids(linkspan: Linkspan) -> None:
    name = unique("twin")
    ids = sorted(linkspan.json("network", "create", name)["id"] for _ in range(2))
    error = linkspan.fails("network", "show", name)
    assert f"'{name}' is the name of 2 network objects; use an id: {ids[0]}, {ids[1]}" in error
    assert linkspan.fails("network", "delete", name) == error
    linkspan("network", "delete", *ids)
    assert linkspan.json("network", "list", "--filter", f"name={name}") == []


def test_a_misspelt_name_among_several_deletes_nothing(linkspan: Linkspan) -> None:
    name = unique("net")
    linkspan("network", "create", name)
    linkspan.fails("network", "delete", name, "no-such")
    assert linkspan.json("network", "show", name)["name"] == name
    linkspan("network", "delete", name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ike-policy", "create", "x", "--lifetime", "value=5"], "lifetime"),
        (["endpoint-group", "create", "x", "--type", "cidr"], "endpoint"),
        (["subnet", "create", "x", "--network", "no-such", "--cidr", "10.0.0.0/24"], "no network with the name or id"),
        (["network", "create", "x", "--external"], "policy"),
        (["port", "show", "0" * 8 + "-0000-4000-8000-000000000000"], "no port with the name or id"),
    ],
)
def test_a_refusal_is_the_apis_own_message(linkspan: Linkspan, arguments: list[str], words: str) -> None:
    assert words in linkspan.fails(*arguments)


def test_endpoint_groups_take_names_of_subnets(linkspan: Linkspan, site: dict[str, str]) -> None:
    name = unique("group")
    group = linkspan.json("endpoint-group", "create", name, "--type", "subnet", "--endpoint", site["lan"])
    assert group["endpoints"] == [linkspan.json("subnet", "show", site["lan"])["id"]]
    linkspan("endpoint-group", "delete", name)


def test_ports_are_read_only(linkspan: Linkspan, site: dict[str, str]) -> None:
    owners = {port["device_owner"] for port in linkspan.json("port", "list")}
    assert "network:router_gateway" in owners or "network:router_interface" in owners
    assert linkspan.code("port", "create", "x") == 2


def test_set_without_an_option_is_a_usage_error(linkspan: Linkspan, site: dict[str, str]) -> None:
    assert linkspan.code("ike-policy", "set", site["ike"]) == 2
    assert "at least one option" in linkspan.errors


def test_a_router_in_use_keeps_its_interface_and_gateway(linkspan: Linkspan, site: dict[str, str]) -> None:
    assert "is used by VPNService" in linkspan.fails("router", "remove-interface", site["router"], site["lan"])
    assert linkspan.code("router", "set", site["router"], "--no-external-gateway") == 1


def test_objects_of_another_project_are_not_found(linkspan: Linkspan, site: dict[str, str]) -> None:
    other = linkspan.as_user("other")
    assert other.json("ike-policy", "list") == []
    assert "no ike policy" in other.fails("ike-policy", "show", site["ike"])


def test_status_shows_nodes_to_admins_and_to_readers_of_the_clouds_file(linkspan: Linkspan, service: Service) -> None:
    assert [node["node"] for node in linkspan.as_user("admin").json("status")["nodes"]] == ["node-1"]
    assert linkspan.json("status")["nodes"] == []
    command = ["status", "-f", "json", "--state", str(service.state)]
    assert [node["node"] for node in json.loads(linkspan.run(*command))["nodes"]] == ["node-1"]


def test_status_watch_ends_with_sigint(service: Service) -> None:
    command = [
        sys.executable,
        "-m",
        "linkspan.bootstrap",
        "status",
        "--watch",
        "--state",
        str(service.state),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().rstrip().endswith((" up", " ACTIVE"))
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=10)
    assert (watching.returncode, errors.strip()) == (130, "")


def test_wrong_credentials_fail_with_exit_code_1(linkspan: Linkspan, service: Service, tmp_path: Path) -> None:
    text = (service.state / "clouds.yaml").read_text().replace("password: ", "password: x")
    (tmp_path / "clouds.yaml").write_text(text)
    assert command_line.execute(["network", "list", "--state", str(tmp_path)]) == 1


def test_exactly_the_commands_that_print_have_a_format_option() -> None:
    for group in commands.build():
        assert hasattr(group, "commands")
        for name, command in group.commands.items():
            options = {option for parameter in command.params for option in parameter.opts}
            assert ("--format" in options) == (name in {"list", "show", "create"} or "--dry-run" in options)
            assert "--cloud" in options


@pytest.mark.clients
def test_the_openstack_command_can_use_the_clouds_file(service: Service, linkspan: Linkspan) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OS_")}
    environment["OS_CLIENT_CONFIG_FILE"] = str(service.state / "clouds.yaml")
    name = unique("seen")
    linkspan("network", "create", name)
    for user, seen in (("demo", True), ("reader", True), ("admin", True), ("other", False)):
        command = [
            str(Path(sys.executable).with_name("openstack")),
            "--os-cloud",
            f"linkspan-{user}",
            "network",
            "list",
        ]
        done = subprocess.run([*command, "-f", "json"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (name in {network["Name"] for network in json.loads(done.stdout)}) is seen
    linkspan("network", "delete", name)


@pytest.mark.clients
def test_curl_can_use_the_curl_file(service: Service) -> None:
    command = ["curl", "-K", str(service.state / "curl.conf"), f"{service.url}/v2.0/networks"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("needs curl: apt-get install curl")
    assert "networks" in json.loads(done.stdout)
