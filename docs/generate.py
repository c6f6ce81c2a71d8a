"""Generates docs/attributes.md and docs/reference/*.md from the registries: attributes, commands, settings, errors;
docs/tunnel.md from the table of phases; docs/diagnosis.md from the causes; and docs/peer-config.md from the formats.

No part of these pages is written by hand, so names, defaults, limits and tests in them are correct. `--check` writes
nothing, and fails if a page is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from linkspan.bootstrap import command_line
from linkspan.core.authorization.default_rules import CREDENTIALS, RULES
from linkspan.core.diagnosis.catalogue.declared import FLAPPING_WITHIN, FLAPS, LayerName, Severity, Side
from linkspan.core.diagnosis.causes import CAUSES
from linkspan.core.errors import STATUS
from linkspan.core.peer_side.formats.format import PLACEHOLDER, PeerFormat
from linkspan.core.peer_side.formats.registry import FORMATS
from linkspan.core.schema.resources import REQUIRED, RESOURCES, VPN, Attribute, Resource
from linkspan.core.tunnel.attempts import ATTEMPT, BACKOFF, BACKOFF_FOR_PART
from linkspan.core.tunnel.events import SasListed
from linkspan.core.tunnel.phase import CHARON_RESTARTED, EDITED, TRANSITIONS, Phase, Trigger
from linkspan.settings import registry

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from effects import EFFECTS  # noqa: E402 # a module next to this file, which is not in a package

from tests.harness import matrix  # noqa: E402 # the tests are not installed
from tests.harness.mutations import MUTABLE  # noqa: E402

MADE = "<!-- Made by docs/generate.py: change the source, not this file. -->\n"
LATE = ("db", "node", "user", "project", "token", "policy")
"""Command groups that work on the local database; they are listed after those that use the API."""


def pages() -> dict[str, str]:
    """Every page by file name, under docs/."""
    return {
        "attributes.md": wire(),
        "tunnel.md": tunnel(),
        "diagnosis.md": diagnosis(),
        "peer-config.md": peer_config(),
        "reference/attributes.md": attributes(),
        "reference/cli.md": cli(),
        "reference/errors.md": errors(),
        "reference/policy.md": policy(),
        "reference/settings.md": settings(),
    }


def page(title: str, intro: str, parts: Iterator[str]) -> str:
    """A Markdown page."""
    return "\n".join([MADE, f"# {title}\n", f"{intro}\n", *parts]).rstrip() + "\n"


def table(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A Markdown table, escaped."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def code(value: Any) -> str:
    """A value as code; empty if there is none."""
    return f"`{value}`" if value not in ("", None) else ""


def wire() -> str:
    """The effect of every attribute of every resource, with the tests that show it, and the mutants."""
    intro = (
        "The effect of each attribute between the gateways, and the tests that observe it on the wire, with plain "
        "strongSwan as the peer; effects of the inventory that no packet shows are observed at the API and in the "
        "desired state of a node. An attribute that has no effect is *informational*. *Backend*: the ESP backends on "
        "which the tests of the wire run: user space, and also the kernel where it behaves differently. Types and "
        "defaults are in [reference/attributes.md](reference/attributes.md)."
    )
    shown = matrix.shown()
    kernel = {name for part in matrix.KERNEL.values() for name in part}

    def parts() -> Iterator[str]:
        for resource in RESOURCES:
            effect = "effect on the wire" if resource in VPN else "effect"
            yield f"## {resource.label}\n"
            yield table(("attribute", effect, "backend", "shown by"), effects(resource))
        yield "## Mutants\n"
        yield (
            "`./dev test --mutate` runs these tests with an agent that ignores one attribute: *held* at a fixed value, "
            "as if the API's value were ignored, and *frozen* at its first value, as if updates were ignored. At least "
            "one test must fail for each mutant; the table shows the first that did.\n"
        )
        yield table(("attribute", "held at", "held: killed by", "frozen: killed by"), mutants())

    def effects(resource: Resource) -> Iterator[tuple[str, ...]]:
        for item in resource.attributes:
            tests = matrix.of(f"{resource.name}.{item.name}", shown)
            both = any(name in kernel or name.partition("::")[0] in kernel for name in tests)
            on_wire = any((matrix.WIRE / name.partition("::")[0]).exists() for name in tests)
            backend = "both" if both else "user space" if on_wire else ""
            yield f"`{item.name}`", EFFECTS[resource.name][item.name], backend, tests_of(tests)

    def mutants() -> Iterator[tuple[str, ...]]:
        killers_of = matrix.mutants()
        for name, (_, value) in MUTABLE.items():
            held = ", ".join(value) if isinstance(value, tuple) else str(value)
            killers = (
                tests_of([killers_of[key]] if (key := f"{name}={way}") in killers_of else [])
                for way in ("held", "frozen")
            )
            yield f"`{name}`", f"`{held}`", *killers

    return page("Attributes on the wire", intro, parts())


LAYERS: dict[LayerName, str] = {
    "intent": "what its user wants, and the database has",
    "node": "the node that runs it",
    "path": "the way to the peer",
    "ike": "the negotiation of the IKE SA",
    "authentication": "who the ends are",
    "child": "the negotiation of child SAs",
    "data": "the packets",
}
SEVERITIES: dict[Severity, str] = {
    "error": "down, until somebody acts",
    "warning": "up, and something is amiss",
    "info": "as somebody wants it, or on its way",
}
SIDES: dict[Side, str] = {"ours": "here", "peer": "at the peer", "path": "between the ends", "unknown": "not known"}


def diagnosis() -> str:
    """Every cause, by layer."""
    intro = (
        "What keeps a connection from being as desired. `status_code` of a connection, `cause` of its diagnosis and "
        "`linkspan diagnose` name one of these codes, which are stable: programs may rely on them. Sentences may "
        "change; words in braces stand for the values that differ. A code that is not here is that of a newer version. "
        "A layer is reached through those before it."
    )

    def parts() -> Iterator[str]:
        for layer, what in LAYERS.items():
            yield f"## {layer}: {what}\n"
            for cause in (cause for cause in CAUSES.values() if cause.layer == layer):
                yield f"### {cause.code}\n"
                yield f"{cause.title}: {SEVERITIES[cause.severity]}.\n"
                yield "\n".join(f"> {text}\n>" for text in (cause.sentence, *cause.variants.values()))[:-1]
                facts = [("fault", SIDES[cause.side]), ("sure", f"{cause.confidence:.0%}")]
                facts += [("said within", f"{cause.visible_after:.0f} s")] if cause.visible_after else []
                facts += [("here", cause.ours)] if cause.ours else []
                facts += [("at the peer", cause.peers)] if cause.peers else []
                facts += [("hidden by", ", ".join(cause.depends_on))] if cause.depends_on else []
                yield "\n".join(f"- {name}: {text}" for name, text in facts) + "\n"
        yield "## FLAPPING in numbers\n"
        yield (
            f"A connection is flapping while it went down {FLAPS} times or more in {FLAPPING_WITHIN / 60:.0f} minutes, "
            "by itself or by its peer: what an edit takes down does not count.\n"
        )

    return page("Causes", intro, parts())


PAIRS = {
    "lists": "in one child SA",
    "one a child": "a child SA each",
    "one": "one only",
}


def peer_config() -> str:
    """Every format of the peer's configuration."""
    intro = (
        "`linkspan connection peer-config NAME [--format FORMAT]` and `GET "
        "/v2.0/vpn/ipsec-site-connections/{id}/peer-config?format=FORMAT` say what the administrator of the other "
        "end has to enter, seen from there: as values in plain words, or as a ready configuration of a device. "
        "`--output DIRECTORY` writes the files.\n\nThe pre-shared key is only in it with `--secret` "
        f"(`secret=true`); otherwise `{PLACEHOLDER}` stands for it. That takes the right to read the key and the "
        "rule `get_ipsec_site_connection:peer_config_psk`, and the audit trail has an entry `export_secret`. "
        "Certificates and post-quantum keys are in no format.\n\n`findings` say what the device cannot do with the "
        "connection: with an *error* there is no configuration, and the sentence names the attribute to change; a "
        "*warning* is to be done or known. Whatever names, identities and keys have in them, it does not get out of "
        "its place in a configuration: a device that has no way to write it refuses it."
    )

    def parts() -> Iterator[str]:
        yield "## Formats\n"
        yield (
            "*tested*: a real daemon takes it, and tunnels come up. *syntax-checked*: a program of that syntax "
            "reads it, and it has never been on the device. *unverified*: written by the device's manual only: read "
            "it before you use it.\n"
        )
        rows = ((f"`{each.name}`", each.title, each.mark, each.evidence) for each in FORMATS.values())
        yield table(("format", "for", "mark", "what shows it"), rows)
        yield "## What devices can do\n"
        yield "By their manuals, as far as a format uses it. Numbers are those of Diffie-Hellman groups.\n"
        yield table(
            ("format", "IKE", "IKE encryption", "IKE groups", "encryption", "groups", "several pairs", "lifetimes"),
            (abilities(each) for each in FORMATS.values() if each.name not in ("text", "json")),
        )

    return page("The peer's configuration", intro, parts())


def abilities(form: PeerFormat) -> tuple[str, ...]:
    """What a device can do."""
    device = form.device
    ike, child = device.ike_lifetime, device.child_lifetime
    limits = [f"IKE {ike[0]} to {ike[1]} s" if ike[1] < 2**31 - 1 else "", f"SA {child[0]} to {child[1]} s"]
    limits += ["no kilobytes"] if device.kilobytes is None else []
    return (
        f"`{form.name}`",
        ", ".join(sorted(device.versions)),
        ", ".join(device.ike_encryption),
        ", ".join(name.removeprefix("group") for name in device.ike_groups),
        ", ".join(device.encryption),
        ", ".join(name.removeprefix("group") for name in device.groups),
        PAIRS[device.pairs],
        ", ".join(limit for limit in limits if limit and not limit.endswith(f"{2**31 - 1} s")),
    )


PHASES: dict[Phase, tuple[str, str, str]] = {
    Phase.DISABLED: ("admin_state_up is false", "nothing is loaded", "DOWN"),
    Phase.FAILED: (
        "charon or the node cannot use the configuration",
        "nothing is loaded, but a previous version that is up goes on; an edit tries again",
        "ERROR, or ACTIVE with a reason",
    ),
    Phase.UNRESOLVED: (
        "the peer's name has no address, or that of another connection with the same ends and networks",
        "the name is queried again",
        "DOWN",
    ),
    Phase.LOADING: ("charon does not have this version yet", "it is being loaded, or adopted", "PENDING_…"),
    Phase.INITIATING: (
        "an attempt is in progress",
        f"charon negotiates, for {ATTEMPT:.0f} s at most",
        "PENDING_… or DOWN",
    ),
    Phase.BACKING_OFF: (
        "the last attempt failed",
        f"the next one follows after {BACKOFF[0]:.0f} to {BACKOFF[-1]:.0f} s",
        "PENDING_… or DOWN",
    ),
    Phase.WAITING_FOR_PEER: ("this end must not initiate (response-only, or DPD action clear)", "waits", "DOWN"),
    Phase.WAITING_FOR_TRAFFIC: ("DPD action hold after the peer was dead", "charon initiates for traffic", "DOWN"),
    Phase.PARTLY_UP: (
        "some pairs of networks are carried",
        f"the missing ones are initiated, again after {BACKOFF[0]:.0f} to {BACKOFF_FOR_PART[-1]:.0f} s and at a rekey",
        "ACTIVE, with a reason",
    ),
    Phase.UP: ("every pair of networks is carried", "redundant SAs are deleted, pfs is verified", "ACTIVE"),
    Phase.REPLACING: (
        "the previous version carries traffic",
        "the new version is initiated beside it",
        "ACTIVE, with a reason",
    ),
}
"""By phase: when a tunnel is in it, what the agent does, and the status that a user reads."""


def tunnel() -> str:
    """The phases of a tunnel and the transitions between them."""
    intro = (
        "The agent keeps a state machine for each connection of a gateway (`core/tunnel/lifecycle`). Its phases and "
        "transitions are declared in a table in `core/tunnel/phase`, from which this page is generated. The machine "
        "ignores an event that the table does not list for the phase, and `tests/core/tunnel/test_phase.py` compares "
        "the table with random histories, so that it lists every transition that happens and no other. The machine "
        "never trusts an event about SAs: such an event makes it list the SAs, and the listing (`SasListed`) decides."
    )
    configured = [phase for phase in Phase if SasListed in TRANSITIONS[phase]]

    def parts() -> Iterator[str]:
        yield "## Phases\n"
        rows = ((f"**{phase.value}**", *PHASES[phase]) for phase in Phase)
        yield table(("phase", "when", "the agent", "status"), rows)
        yield "PENDING_CREATE and PENDING_UPDATE become DOWN after `api.grace` seconds.\n"
        yield "## Diagram\n"
        yield "```mermaid\nstateDiagram-v2"
        yield from (f"    {phase.name}: {phase.value}" for phase in Phase)
        yield "    [*] --> LOADING"
        for before in configured:
            for after in configured:
                triggers = [trigger for trigger, targets in TRANSITIONS[before].items() if after in targets]
                if triggers != [EDITED, CHARON_RESTARTED] and triggers:
                    yield f"    {before.name} --> {after.name}: {', '.join(map(trigger_name, triggers))}"
        yield "```\n"
        yield (
            "Left out of the diagram, since it is the same everywhere: an edit leads from every phase to *disabled*, "
            "*failed*, *unresolved* and, with a new configuration, to *loading*; a refused configuration "
            "(`LoadFailed`) leads to *failed*; a restart of charon leads to *loading*.\n"
        )
        yield "## Transitions\n"
        yield table(("phase", "trigger", "other phases that may follow"), transitions())

    def transitions() -> Iterator[tuple[str, ...]]:
        for before, row in TRANSITIONS.items():
            for trigger, targets in row.items():
                if targets:
                    names = ", ".join(phase.value for phase in Phase if phase in targets)
                    yield before.value, trigger_name(trigger), names

    return page("The lifecycle of a tunnel", intro, parts())


def trigger_name(trigger: Trigger) -> str:
    """The name of a trigger: an event's class, or words."""
    return trigger if isinstance(trigger, str) else trigger.__name__


def tests_of(names: list[str]) -> str:
    """Tests by file: `test_mtu.py`: a, b."""
    files: dict[str, list[str]] = {}
    for name in names:
        file, _, test = name.partition("::")
        files.setdefault(file, []).append(test.partition("[")[0].removeprefix("test_").replace("_", " "))
    return "; ".join(f"`{file}`: {', '.join(tests)}" for file, tests in files.items())


def attributes() -> str:
    """Every resource with its attributes."""
    intro = (
        "All resources of the API and their attributes. *POST* and *PUT*: a client may set the attribute on create and "
        "on update; without either it is read-only. *Default*: the value on POST if the request has none."
    )

    def parts() -> Iterator[str]:
        for resource in RESOURCES:
            yield f"## {resource.label}\n"
            yield f"{resource.help[:1].upper()}{resource.help[1:]}. `/v2.0/{resource.path}`, `{resource.singular}`.\n"
            yield table(("attribute", "POST", "PUT", "default", "type", "meaning"), rows(resource))

    def rows(resource: Resource) -> Iterator[tuple[str, ...]]:
        for item in resource.attributes:
            meaning = item.help + (" (secret)" if item.secret else "")
            yield (f"`{item.name}`", yes(item.post), yes(item.put), default(item), kind(item), meaning)

    return page("Attributes", intro, parts())


def yes(value: bool) -> str:
    """`yes`, or an empty cell."""
    return "yes" if value else ""


def default(item: Attribute) -> str:
    """An attribute's default."""
    if not item.post:
        return ""
    if item.default is REQUIRED:
        return "required"
    if item.default is None:
        return "null"
    return f"`{json.dumps(item.default)}`"


def kind(item: Attribute) -> str:
    """An attribute's type, from its JSON Schema."""
    schema = item.kind.schema()
    schema = (schema.get("oneOf") or schema.get("anyOf") or [schema])[0]
    names = schema.get("type", "")
    text = " or ".join(names) if isinstance(names, list) else str(names)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format"):
        text = f"{schema['format']}{' or null' if 'null' in text else ''}"
    if "minimum" in schema and abs(schema["minimum"]) < 2**31 - 1:
        text += f", {schema['minimum']} to {schema['maximum']}"
    if schema.get("maxLength"):
        text += f", at most {schema['maxLength']} characters"
    return text


def cli() -> str:
    """Every command with its options."""
    intro = (
        "Exit codes: 0 success, 1 failure (one line on standard error with the cause and the remedy), 2 usage error. "
        "Every command that prints data takes `-f json`."
    )
    root = command_line.root()
    names = sorted(root.commands, key=lambda name: (name in LATE, name))

    def parts() -> Iterator[str]:
        for name in names:
            yield from command(root.commands[name], f"linkspan {name}", click.Context(root, info_name="linkspan"))

    return page("Commands", intro, parts())


def command(item: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    """A command, or a group with its commands."""
    context = click.Context(item, parent=parent, info_name=path.rpartition(" ")[2])
    if isinstance(item, click.Group):
        yield f"## {path}\n"
        yield f"{item.help}\n"
        for name in item.list_commands(context):
            inner = item.get_command(context, name)
            assert inner is not None
            yield from command(inner, f"{path} {name}", context)
        return
    arguments = [parameter.make_metavar(context) for parameter in item.params if isinstance(parameter, click.Argument)]
    yield f"{'##' if parent.parent is None else '###'} {path} {' '.join(arguments)}".rstrip() + "\n"
    yield f"{item.help}\n"
    options = [parameter for parameter in item.params if isinstance(parameter, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    if records:
        yield table(("option", "meaning"), ((f"`{option}`", text) for option, text in records))


def errors() -> str:
    """Every error type with its HTTP code."""
    intro = (
        'Errors are `{"NeutronError": {"type": …, "message": …, "detail": ""}}`; clients match on `type`. Errors of '
        '`/identity` and every 401 are Keystone\'s `{"error": {"code": …, "title": …, "message": …}}`, without a type.'
    )
    by_code = sorted(STATUS.items(), key=lambda item: (item[1], item[0]))
    return page("Errors", intro, iter([table(("HTTP", "type"), ((str(code), f"`{name}`") for name, code in by_code))]))


def policy() -> str:
    """Every policy rule with its default."""
    intro = (
        "The rules that authorize requests. The setting `api.policy_file` names a YAML file whose rules replace these "
        "defaults. Language and names are those of oslo.policy and Neutron. `linkspan policy show` prints a file with "
        "the defaults, and `linkspan policy check FILE` validates one. The API does not start with an invalid file; it "
        "ignores nothing in it.\n\n"
        f"A rule may check these attributes of the caller: {', '.join(map(code, CREDENTIALS))}. It may check every "
        "stored attribute of the object that is not secret: the new values on create, the old values on update. If "
        "`get_…` does not allow a caller to read an object, every request for it gets a 404; otherwise a request that "
        "is not allowed gets a 403. In a list, rules on roles, projects, `shared` and `router:external` become part of "
        "the SQL statement. A rule on other attributes is evaluated for each object after all have been read."
    )

    def rows(base: bool) -> Iterator[tuple[str, ...]]:
        for rule in RULES:
            if (rule.target is None) == base:
                yield f"`{rule.name}`", f"`{json.dumps(rule.text)}`", rule.help, "; ".join(map(code, rule.requests))

    def parts() -> Iterator[str]:
        yield "## Rules of the API\n"
        yield table(("rule", "default", "permits to", "requests"), rows(base=False))
        yield "## Base rules\n"
        yield table(("rule", "default", "holds for"), (row[:3] for row in rows(base=True)))

    return page("Policy rules", intro, parts())


def settings() -> str:
    """Every setting."""
    intro = (
        "A setting is taken from the command line, else from the environment, else from the file of `--config` (TOML; "
        "the word before the dot is the table), else it has its default. An unknown key is an error."
    )
    rows = (
        (f"`{s.key}`", f"`{s.environment}`", s.kind, code("" if s.default in ("", {}) else s.default), s.help)
        for s in registry()
    )
    return page("Settings", intro, iter([table(("setting", "environment", "type", "default", "meaning"), rows)]))


def main() -> int:
    """Writes the pages, or with --check reports those that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, text in pages().items():
        file = DOCS / name
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        if check:
            stale.append(str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file))
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(f"wrote {file.name}")
    if stale:
        print(f"out of date: {', '.join(stale)}; run 'python docs/generate.py'", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
