"""The 25 `openstack vpn …` commands: a table of the five nouns with arguments and expected output, and a test of all.

The table is the same for every version of the client. `more` has the options `--lifetime` and `--dpd`, which make
version 10.5 fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tests.harness.openstack_cli import Cli

Named = Callable[[str], str]
"""Returns the argument that refers to another object: its name or its id."""
VERBS: Final = ("create", "delete", "list", "set", "show")
BOTH: Final = (1, 2)


class Extra(msgspec.Struct, frozen=True):
    """More arguments of `create` and `set`, and the output that they add."""

    create: tuple[str, ...]
    created: dict[str, Any]
    set: tuple[str, ...]
    changed: dict[str, Any]


class Noun(msgspec.Struct, frozen=True):
    """`create` returns the arguments for object number 1 or 2; `created` and `changed` are the expected output."""

    name: str
    create: Callable[[Named, int], tuple[str, ...]]
    created: dict[str, Any]
    set: tuple[str, ...]
    changed: dict[str, Any]
    more: Extra | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the command before its verb."""
        return ("vpn", *self.name.split())


def _lifetime(value: int) -> dict[str, Any]:
    return {"Lifetime": {"units": "seconds", "value": value}}


_LIFETIME: Final = Extra(
    ("--lifetime", "units=seconds,value=7200"), _lifetime(7200), ("--lifetime", "value=14400"), _lifetime(14400)
)
_POLICY: Final = ("--auth-algorithm", "sha512", "--encryption-algorithm", "aes-256", "--pfs", "group14")
_POLICY_SHOWN: Final = {
    "Authentication Algorithm": "sha512",
    "Encryption Algorithm": "aes-256",
    "Perfect Forward Secrecy (PFS)": "group14",
}

NOUNS: Final = (
    Noun(
        "endpoint group",
        lambda _named, _number: ("--type", "cidr", "--value", "10.9.0.0/24", "--value", "10.8.0.0/24"),
        {"Type": "cidr", "Endpoints": ["10.9.0.0/24", "10.8.0.0/24"]},
        ("--description", "theirs"),
        {"Description": "theirs"},
    ),
    Noun(
        "ike policy",
        lambda _named, _number: (*_POLICY, "--ike-version", "v2", "--phase1-negotiation-mode", "main"),
        _POLICY_SHOWN | {"IKE Version": "v2", "Phase1 Negotiation Mode": "main"},
        ("--encryption-algorithm", "aes-192"),
        {"Encryption Algorithm": "aes-192"},
        _LIFETIME,
    ),
    Noun(
        "ipsec policy",
        lambda _named, _number: (*_POLICY, "--transform-protocol", "esp", "--encapsulation-mode", "tunnel"),
        _POLICY_SHOWN | {"Transform Protocol": "esp", "Encapsulation Mode": "tunnel"},
        ("--auth-algorithm", "sha384"),
        {"Authentication Algorithm": "sha384"},
        _LIFETIME,
    ),
    Noun(
        "service",
        lambda named, _number: ("--router", named("router"), "--description", "of the lan", "--enable"),
        {"State": True, "Description": "of the lan"},
        ("--disable",),
        {"State": False},
    ),
    Noun(
        "ipsec site connection",
        lambda named, number: (
            *("--vpnservice", named("service"), "--ikepolicy", named("ike policy")),
            *("--ipsecpolicy", named("ipsec policy"), "--local-endpoint-group", named("ours")),
            *("--peer-endpoint-group", named("endpoint group"), "--peer-address", f"203.0.113.{number}"),
            *("--peer-id", "branch@example.org", "--local-id", "head@example.org", "--psk", "correct horse"),
            *("--mtu", "1400", "--initiator", "response-only"),
        ),
        {
            "Authentication Algorithm": "psk",
            "Initiator": "response-only",
            "Local ID": "head@example.org",
            "MTU": 1400,
            "Peer CIDRs": [],
            "Peer ID": "branch@example.org",
            "Pre-shared Key": "correct horse",
            "Route Mode": "static",
            "State": True,
        },
        ("--mtu", "1300", "--peer-id", "203.0.113.77", "--disable"),
        {"MTU": 1300, "Peer ID": "203.0.113.77", "State": False},
        Extra(
            ("--dpd", "action=restart,interval=5,timeout=20"),
            {"DPD": {"action": "restart", "interval": 5, "timeout": 20}},
            ("--dpd", "action=clear"),
            {"DPD": {"action": "clear", "interval": 5, "timeout": 20}},
        ),
    ),
)


def commands(cli: Cli) -> set[tuple[str, ...]]:
    """Returns all commands that start with `vpn`, from the client's own list."""
    groups = cli("command", "list")
    return {tuple(name.split()) for group in groups for name in group["Commands"] if name.startswith("vpn ")}


class CommandTest:
    """Runs every command on two objects of each noun: the first is always named by its name, the second by its id.

    `ids`: the ids of the existing `router` and of its subnet `lan-v4`. `more`: with the options of `Noun.more`.
    """

    def __init__(self, cli: Cli, ids: Mapping[str, str], *, more: bool) -> None:
        self._cli = cli
        self._more = more
        self._ids = dict(ids)
        self._created: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        """Runs all commands."""
        ours = self._cli("vpn", "endpoint", "group", "create", "--type", "subnet", "--value", "lan-v4", "ours")
        assert ours["Endpoints"] == [self._ids["lan-v4"]]
        self._ids["ours"] = ours["ID"]
        for noun in NOUNS:
            for number in BOTH:
                self.create(noun, number)
        for noun in NOUNS:
            self.check_output(noun)
            for number in BOTH:
                self.change(noun, number)
        for noun in reversed(NOUNS):
            for number in BOTH:
                self._cli.quietly(*noun.words, "delete", self._reference(noun.name, number))
            remaining = [row["Name"] for row in self._cli(*noun.words, "list")]
            assert remaining == (["ours"] if noun is NOUNS[0] else [])

    def create(self, noun: Noun, number: int) -> None:
        """Runs `create` and checks its output."""
        name = f"{noun.name} {number}"
        words = noun.create(lambda other: self._reference(other, number), number)
        shown = noun.created
        if self._more and noun.more:
            words, shown = words + noun.more.create, shown | noun.more.created
        created = self._cli(*noun.words, "create", *words, name)
        assert created["Name"] == name
        assert {key: created[key] for key in shown} == shown
        self._created[name], self._ids[name] = created, created["ID"]

    def check_output(self, noun: Noun) -> None:
        """Checks that `show` and both forms of `list` print the same values as `create`."""
        short, long = (
            {row["ID"]: row for row in self._cli(*noun.words, "list", *length)} for length in ((), ("--long",))
        )
        for number in BOTH:
            created = self._created[f"{noun.name} {number}"]
            assert self._cli(*noun.words, "show", self._reference(noun.name, number)) == created
            for row in (short[created["ID"]], long[created["ID"]]):
                assert row == {key: created[key] for key in row}
            assert noun.created.keys() | short[created["ID"]].keys() <= long[created["ID"]].keys()

    def change(self, noun: Noun, number: int) -> None:
        """Runs `set`, which prints nothing, and checks the output of `show`."""
        words, shown = noun.set, noun.changed
        if self._more and noun.more:
            words, shown = words + noun.more.set, shown | noun.more.changed
        if number == 2:
            # The second object is referenced by its id, so its name may change.
            words, shown = (*words, "--name", "renamed"), shown | {"Name": "renamed"}
        self._cli.quietly(*noun.words, "set", *words, self._reference(noun.name, number))
        output = self._cli(*noun.words, "show", self._reference(noun.name, number))
        before = self._created[f"{noun.name} {number}"]
        expected = {key: before[key] for key in noun.created} | shown
        assert {key: output[key] for key in expected} == expected

    def _reference(self, noun: str, number: int) -> str:
        name = f"{noun} {number}" if f"{noun} {number}" in self._ids else noun
        return name if number == 1 else self._ids[name]
