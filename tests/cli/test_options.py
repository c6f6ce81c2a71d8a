"""Options generated from attributes, and the request bodies built from them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import click
import pytest

from linkspan.cli import options, render
from linkspan.cli.client import Client, CliError, Cloud
from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    NETWORK,
    RESOURCES,
    ROUTER,
    SUBNET,
    TRUST_ANCHOR,
)

NOWHERE = Client(Cloud(name="none", url="http://127.0.0.1:1"))
ID = "0" * 8 + "-0000-4000-8000-000000000000"


def names(resource: Any, *, create: bool) -> set[str]:
    parameters = options.options(resource, create=create)
    return {flag for item in parameters for flag in (*item.opts, *item.secondary_opts)}


def test_pools_become_ranges() -> None:
    given = {"allocation_pools": ("10.1.0.20-10.1.0.29", "fd00::10 - fd00::1f")}
    assert options.request_body(NOWHERE, SUBNET, given) == {
        "allocation_pools": [
            {"start": "10.1.0.20", "end": "10.1.0.29"},
            {"start": "fd00::10", "end": "fd00::1f"},
        ]
    }
    for text in ("10.1.0.20", "-", "10.1.0.20-", ""):
        with pytest.raises(click.BadParameter, match="START-END"):
            options.request_body(NOWHERE, SUBNET, {"allocation_pools": (text,)})


def test_repeated_options_become_lists() -> None:
    given = {
        "dns_nameservers": ("10.1.0.53", "fd00::53"),
        "host_routes": ("destination=10.9.0.0/16,nexthop=10.1.0.7", "nexthop=fd00::7,destination=fd00:9::/32"),
        "tags": ("north", "a,b"),
    }
    assert options.request_body(NOWHERE, SUBNET, given) == {
        "dns_nameservers": ["10.1.0.53", "fd00::53"],
        "host_routes": [
            {"destination": "10.9.0.0/16", "nexthop": "10.1.0.7"},
            {"destination": "fd00:9::/32", "nexthop": "fd00::7"},
        ],
        "tags": ["north", "a,b"],
    }
    with pytest.raises(click.BadParameter, match="key=value"):
        options.request_body(NOWHERE, SUBNET, {"host_routes": ("10.9.0.0/16",)})


@pytest.mark.parametrize("resource", [r for r in RESOURCES if r.writable], ids=lambda r: r.name)
def test_every_writable_attribute_has_an_option(resource: Any) -> None:
    for create in (True, False):
        names = {item.name for item in options.options(resource, create=create)}
        wanted = {options.parameter_name(a) for a in resource.attributes if (a.post if create else a.put)}
        assert wanted <= names


def test_names_of_options() -> None:
    assert {"--service", "--ike-policy", "--peer-cidr", "--psk", "--psk-file", "--dpd", "--admin-state-up"} <= names(
        CONNECTION, create=True
    )
    assert "--service" not in names(CONNECTION, create=False)
    assert {"--external", "--no-external"} <= names(NETWORK, create=True)
    assert {"--external-gateway", "--no-external-gateway"} <= names(ROUTER, create=False)
    assert "--no-external-gateway" not in names(ROUTER, create=True)


def test_options_that_were_not_given_are_not_sent() -> None:
    assert options.request_body(NOWHERE, CONNECTION, {"peer_cidrs": (), "name": None, "admin_state_up": None}) == {}


def test_options_become_a_request_body() -> None:
    given = {
        "vpnservice_id": ID,
        "peer_cidrs": ("10.2.0.0/24", "10.3.0.0/24"),
        "dpd": "action=restart,interval=5",
        "admin_state_up": False,
        "local_ep_group_id": "",
    }
    assert options.request_body(NOWHERE, CONNECTION, given) == {
        "vpnservice_id": ID,
        "peer_cidrs": ["10.2.0.0/24", "10.3.0.0/24"],
        "dpd": {"action": "restart", "interval": 5},
        "admin_state_up": False,
        "local_ep_group_id": None,
    }
    assert options.request_body(NOWHERE, ROUTER, {"no_external_gateway": True}) == {"external_gateway_info": None}
    assert options.request_body(NOWHERE, NETWORK, {"router_external": True}) == {"router:external": True}
    assert options.request_body(NOWHERE, ENDPOINT_GROUP, {"type": "cidr", "endpoints": ("10.0.0.0/8",)}) == {
        "type": "cidr",
        "endpoints": ["10.0.0.0/8"],
    }


@pytest.mark.parametrize("text", ["", "units", "units=", "=3", "value=1,value=2", "units=seconds,,"])
def test_an_object_without_key_value_pairs_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="key=value"):
        options.parse_pairs("--lifetime", text)


def psk(text: str | None = None, file: Path | None = None) -> str | None:
    return options.read_secret(CONNECTION["psk"], text, file)


def test_a_secret_comes_from_a_file_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "psk"
    file.write_bytes(b"a secret \r\n")
    assert psk(file=file) == "a secret "
    monkeypatch.setattr("sys.stdin", io.StringIO("from stdin\n"))
    assert psk("-") == "from stdin"
    assert psk() is None


def test_a_secret_on_the_command_line_is_taken_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert psk("geheim") == "geheim"
    shown = capsys.readouterr().err
    assert "--psk-file" in shown
    assert "geheim" not in shown


def test_a_secret_from_a_missing_file_or_from_two_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="No such file"):
        psk(file=tmp_path / "absent")
    with pytest.raises(click.UsageError):
        psk("a", tmp_path)


def test_pem_comes_from_files_or_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "gw.pem"
    file.write_text("a certificate\n")
    given = {"certificate": f"@{file}", "private_key_file": file, "subject_alt_names": ("gw", "192.0.2.1")}
    assert options.request_body(NOWHERE, CERTIFICATE, given) == {
        "certificate": "a certificate\n",
        "private_key": "a certificate",
        "subject_alt_names": ["gw", "192.0.2.1"],
    }
    monkeypatch.setattr("sys.stdin", io.StringIO("bundle\n"))
    given = {"ca_bundle": "-", "crl": "", "crl_urls": ("http://a/",)}
    expected = {"ca_bundle": "bundle\n", "crl": "", "crl_urls": ["http://a/"]}
    assert options.request_body(NOWHERE, TRUST_ANCHOR, given) == expected
    body = options.request_body(NOWHERE, CONNECTION, {"peer_certificates": (f"@{file}", "text"), "trust_anchor_id": ID})
    assert body == {"peer_certificates": ["a certificate\n", "text"], "trust_anchor_id": ID}
    assert options.request_body(NOWHERE, CONNECTION, {"peer_certificates": ("",)}) == {"peer_certificates": []}
    with pytest.raises(CliError, match="No such file"):
        options.request_body(NOWHERE, TRUST_ANCHOR, {"crl": f"@{tmp_path}/absent"})


def test_a_private_key_on_the_command_line_is_taken_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert options.request_body(NOWHERE, CERTIFICATE, {"private_key": "geheim"}) == {"private_key": "geheim"}
    shown = capsys.readouterr().err
    assert "--private-key-file" in shown
    assert "geheim" not in shown


def test_names_of_options_for_certificates() -> None:
    assert {"--local-certificate", "--trust-anchor", "--peer-certificate", "--ppk-file"} <= names(
        CONNECTION, create=True
    )
    assert {"--issuer", "--private-key-file", "--subject-alt-name"} <= names(CERTIFICATE, create=True)
    assert {"--ca-bundle", "--crl", "--crl-url"} <= names(TRUST_ANCHOR, create=False)


def test_only_the_help_of_create_shows_defaults() -> None:
    def text(create: bool) -> str:
        item = next(i for i in options.options(IKE_POLICY, create=create) if i.name == "ike_version")
        assert isinstance(item, click.Option)
        return item.help or ""

    assert "default v2" in text(create=True)
    assert "default" not in text(create=False)


def test_secrets_are_hidden_and_unset_secrets_stay_null() -> None:
    assert render.hide_secrets(CONNECTION, {"psk": "geheim", "name": "n"}) == {"psk": "***", "name": "n"}
    assert render.hide_secrets(CONNECTION, {"psk": None}) == {"psk": None}


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (None, ""),
        (True, "true"),
        ([], ""),
        (["a", "b"], "a, b"),
        ({"units": "seconds", "value": 60}, "units=seconds, value=60"),
        ([{"ip_address": "10.0.0.1"}, {"ip_address": "10.0.0.2"}], "ip_address=10.0.0.1\nip_address=10.0.0.2"),
    ],
)
def test_cells(value: Any, cell: str) -> None:
    assert render.format_value(value) == cell


@pytest.mark.parametrize(("seconds", "words"), [(0, "0s"), (119, "119s"), (120, "2m"), (7_200, "2h"), (172_800, "2d")])
def test_ages(seconds: int, words: str) -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime(2026, 1, 5, tzinfo=UTC)
    assert render.format_age((now - timedelta(seconds=seconds)).isoformat(), now) == words
    assert render.format_age((now - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ"), now) == words
    assert render.format_age(None) == ""
