"""The 25 `openstack vpn …` commands, as a table of the five nouns, and what to type to go through all of them once.

It knows what each command prints; it does not know which version prints it, except for the options of `more`, which
version 10.5 cannot send (`--lifetime` and `--dpd` end it with an error of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tests.harness.openstack_cli import Cli

Named = Callable[[str], str]
"""How a command names another object: by its name or by its id."""
VERBS: Final = ("create", "delete", "list", "set", "show")
BOTH: Final = (1, 2)


class Extra(msgspec.Struct, frozen=True):
    """Words for `create` and `set`, and what is printed after each."""

    create: tuple[str, ...]
    created: dict[str, Any]
    set: tuple[str, ...]
    changed: dict[str, Any]


class Noun(msgspec.Struct, frozen=True):
    """`create` makes the words for the object of a number, 1 or 2; `created` and `changed` are printed of it."""

    name: str
    create: Callable[[Named, int], tuple[str, ...]]
    created: dict[str, Any]
    set: tuple[str, ...]
    changed: dict[str, Any]
    more: Extra | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The command, without its verb."""
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
    """All commands that begin with `vpn`, by what the command line says of itself."""
    groups = cli("command", "list")
    return {tuple(name.split()) for group in groups for name in group["Commands"] if name.startswith("vpn ")}


class Tour:
    """Two of each noun, one of which is always called by its name and the other by its id.

    `ids` are those of what is there by these names: a `router` and a `lan-v4` on it. `more`: with `Noun.more`.
    """

    def __init__(self, cli: Cli, ids: Mapping[str, str], *, more: bool) -> None:
        self._cli = cli
        self._more = more
        self._ids = dict(ids)
        self._made: dict[str, dict[str, Any]] = {}

    def go(self) -> None:
        """All of it."""
        ours = self._cli("vpn", "endpoint", "group", "create", "--type", "subnet", "--value", "lan-v4", "ours")
        assert ours["Endpoints"] == [self._ids["lan-v4"]]
        self._ids["ours"] = ours["ID"]
        for noun in NOUNS:
            for number in BOTH:
                self.create(noun, number)
        for noun in NOUNS:
            self.look(noun)
            for number in BOTH:
                self.change(noun, number)
        for noun in reversed(NOUNS):
            for number in BOTH:
                self._cli.quietly(*noun.words, "delete", self._called(noun.name, number))
            left = [each["Name"] for each in self._cli(*noun.words, "list")]
            assert left == (["ours"] if noun is NOUNS[0] else [])

    def create(self, noun: Noun, number: int) -> None:
        """One more."""
        name = f"{noun.name} {number}"
        words = noun.create(lambda what: self._called(what, number), number)
        shown = noun.created
        if self._more and noun.more:
            words, shown = words + noun.more.create, shown | noun.more.created
        made = self._cli(*noun.words, "create", *words, name)
        assert made["Name"] == name
        assert {key: made[key] for key in shown} == shown
        self._made[name], self._ids[name] = made, made["ID"]

    def look(self, noun: Noun) -> None:
        """What `show` and both lists print is what `create` printed."""
        short, long = (
            {row["ID"]: row for row in self._cli(*noun.words, "list", *length)} for length in ((), ("--long",))
        )
        for number in BOTH:
            made = self._made[f"{noun.name} {number}"]
            assert self._cli(*noun.words, "show", self._called(noun.name, number)) == made
            for row in (short[made["ID"]], long[made["ID"]]):
                assert row == {key: made[key] for key in row}
            assert noun.created.keys() | short[made["ID"]].keys() <= long[made["ID"]].keys()

    def change(self, noun: Noun, number: int) -> None:
        """`set`, which prints nothing; `show` tells."""
        words, shown = noun.set, noun.changed
        if self._more and noun.more:
            words, shown = words + noun.more.set, shown | noun.more.changed
        if number == 2:
            # The one that is called by its id may lose its name.
            words, shown = (*words, "--name", "renamed"), shown | {"Name": "renamed"}
        self._cli.quietly(*noun.words, "set", *words, self._called(noun.name, number))
        seen = self._cli(*noun.words, "show", self._called(noun.name, number))
        before = self._made[f"{noun.name} {number}"]
        expected = {key: before[key] for key in noun.created} | shown
        assert {key: seen[key] for key in expected} == expected

    def _called(self, what: str, number: int) -> str:
        name = f"{what} {number}" if f"{what} {number}" in self._ids else what
        return name if number == 1 else self._ids[name]
