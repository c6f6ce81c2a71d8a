"""Writes docs/attributes.md and docs/reference/*.md out of the registries: attributes, commands, settings, errors.

Nothing in those pages is written by hand, so they cannot be wrong about names, defaults, limits and tests. `--check`
writes nothing and fails if a page is not what would be written.
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
from linkspan.core.errors import STATUS
from linkspan.core.schema.resources import INVENTORY, REQUIRED, VPN, Attribute, Resource
from linkspan.settings import registry

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

from effects import EFFECTS  # noqa: E402 # beside this file, which is no package

from tests.harness import matrix  # noqa: E402 # the tests are not installed
from tests.harness.mutations import FIELDS  # noqa: E402

MADE = "<!-- Made by docs/generate.py: change the source, not this file. -->\n"
LATE = ("db", "node", "user", "project", "token", "policy")
"""Groups on the machine itself, listed after those that speak HTTP."""


def pages() -> dict[str, str]:
    """Every page by file name, under docs/."""
    return {
        "attributes.md": wire(),
        "reference/attributes.md": attributes(),
        "reference/cli.md": cli(),
        "reference/errors.md": errors(),
        "reference/policy.md": policy(),
        "reference/settings.md": settings(),
    }


def page(title: str, intro: str, parts: Iterator[str]) -> str:
    """A page of Markdown."""
    return "\n".join([MADE, f"# {title}\n", f"{intro}\n", *parts]).rstrip() + "\n"


def table(columns: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table of Markdown, with what would break it escaped."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def code(value: Any) -> str:
    """A value as code; nothing stays nothing."""
    return f"`{value}`" if value not in ("", None) else ""


def wire() -> str:
    """What every attribute of the VPN resources does on the wire, which tests show it, and what the mutants say."""
    intro = (
        "What each attribute does between the gateways, and the tests that watch the wire for it, against a peer that "
        "is a plain charon. *Backend*: where they run: user space, or the kernel's ESP too where that behaves "
        "differently. Types and defaults are in [reference/attributes.md](reference/attributes.md)."
    )
    shown = matrix.shown()
    kernel = {name for part in matrix.KERNEL.values() for name in part}

    def parts() -> Iterator[str]:
        for resource in VPN:
            yield f"## {resource.label}\n"
            yield table(("attribute", "on the wire", "backend", "shown by"), effects(resource))
        yield "## Mutants\n"
        yield (
            "`./dev test --mutate` runs these tests with an agent that drops one attribute: *held* at one value, as if "
            "the API's were ignored, and *frozen* at its first value, as if updates were. At least one test has to "
            "fail for each; here is the first that did.\n"
        )
        yield table(("attribute", "held at", "held: killed by", "frozen: killed by"), mutants())

    def effects(resource: Resource) -> Iterator[tuple[str, ...]]:
        for item in resource.attributes:
            tests = matrix.of(f"{resource.name}.{item.name}", shown)
            both = any(name in kernel or name.partition("::")[0] in kernel for name in tests)
            backend = "both" if both else "user space"
            yield f"`{item.name}`", EFFECTS[resource.name][item.name], backend, tests_of(tests)

    def mutants() -> Iterator[tuple[str, ...]]:
        found = matrix.mutants()
        for name, (_, value) in FIELDS.items():
            held = ", ".join(value) if isinstance(value, tuple) else str(value)
            killers = (
                tests_of([found[key]] if (key := f"{name}={way}") in found else []) for way in ("held", "frozen")
            )
            yield f"`{name}`", f"`{held}`", *killers

    return page("Attributes on the wire", intro, parts())


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
        "All resources of the API and their attributes. *POST* and *PUT*: whether a client may give the attribute; "
        "a default is filled in on POST. What is neither is read-only."
    )

    def parts() -> Iterator[str]:
        for resource in (*VPN, *INVENTORY):
            yield f"## {resource.label}\n"
            yield f"{resource.help[:1].upper()}{resource.help[1:]}. `/v2.0/{resource.path}`, `{resource.singular}`.\n"
            yield table(("attribute", "POST", "PUT", "default", "type", "meaning"), rows(resource))

    def rows(resource: Resource) -> Iterator[tuple[str, ...]]:
        for item in resource.attributes:
            meaning = item.help + (" (secret)" if item.secret else "")
            yield (f"`{item.name}`", yes(item.post), yes(item.put), default(item), kind(item), meaning)

    return page("Attributes", intro, parts())


def yes(value: bool) -> str:
    """Yes or nothing."""
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
    schema = schema.get("oneOf", [schema])[0]
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
        "Exit codes: 0 done, 1 failed (one line on standard error says what and what to do), 2 usage. "
        "`-f json` on every command that prints data."
    )
    root = command_line.root()
    names = sorted(root.commands, key=lambda name: (name in LATE, name))

    def parts() -> Iterator[str]:
        for name in names:
            yield from command(root.commands[name], f"linkspan {name}", click.Context(root, info_name="linkspan"))

    return page("Commands", intro, parts())


def command(item: click.Command, path: str, parent: click.Context) -> Iterator[str]:
    """A command or a group, and what is in it."""
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
        'Errors are `{"NeutronError": {"type": …, "message": …, "detail": ""}}`. Clients match on `type`. Those of the '
        'identity, and every 401, are Keystone\'s `{"error": {"code": …, "title": …, "message": …}}`, without a type.'
    )
    by_code = sorted(STATUS.items(), key=lambda item: (item[1], item[0]))
    return page("Errors", intro, iter([table(("HTTP", "type"), ((str(code), f"`{name}`") for name, code in by_code))]))


def policy() -> str:
    """Every policy rule with its default."""
    intro = (
        "Who may do what. The setting `api.policy_file` names a YAML file whose rules take the place of these, in the "
        "language of oslo.policy and under the names that Neutron has for them; `linkspan policy show` prints one to "
        "begin with, and `linkspan policy check FILE` says whether the API can use one. A file that it cannot use "
        "keeps it from starting: nothing in it is ignored.\n\n"
        f"A rule may ask of the caller: {', '.join(map(code, CREDENTIALS))}. Of an object it may ask every attribute "
        "that is stored and no secret: of a new one as it will be, of a change as it is before. An object that `get_…` "
        "does not let a caller see does not exist for them (404); what they see and may not do is a 403. A rule that "
        "looks only at roles, projects and whether a network is for everybody costs a list nothing; one that looks at "
        "other attributes is asked for each object, after all of them are read."
    )

    def rows(base: bool) -> Iterator[tuple[str, ...]]:
        for rule in RULES:
            if (rule.target is None) == base:
                yield f"`{rule.name}`", f"`{json.dumps(rule.text)}`", rule.help, "; ".join(map(code, rule.requests))

    def parts() -> Iterator[str]:
        yield "## What the API asks\n"
        yield table(("rule", "default", "may", "on"), rows(base=False))
        yield "## What rules refer to\n"
        yield table(("rule", "default", "who"), (row[:3] for row in rows(base=True)))

    return page("Policy rules", intro, parts())


def settings() -> str:
    """Every setting."""
    intro = (
        "A setting comes from the command line, else the environment, else the file that `--config` names (TOML; the "
        "word before the dot is the table), else its default. An unknown key is an error."
    )
    rows = (
        (f"`{s.key}`", f"`{s.environment}`", s.kind, code("" if s.default in ("", {}) else s.default), s.help)
        for s in registry()
    )
    return page("Settings", intro, iter([table(("setting", "environment", "type", "default", "meaning"), rows)]))


def main() -> int:
    """Write the pages, or with --check say which are not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is not up to date")
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
        print(f"not up to date: {', '.join(stale)}; run 'python docs/generate.py'", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
