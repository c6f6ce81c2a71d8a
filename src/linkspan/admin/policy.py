"""The operator's policy file and `linkspan policy show|check`. `core.authorization` parses and evaluates the rules.

A file with an error is refused as a whole, in one line with its name. Three mistakes that YAML itself accepts are
refused too: a rule given twice, a `!` without quotes (YAML reads it as a tag), and a rule without a text, which would
permit everything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import yaml

from linkspan.core.authorization.default_rules import RULES
from linkspan.core.authorization.language import RuleError
from linkspan.core.authorization.policy import Policy, policy_of


def load_policy(path: Path | None) -> Policy:
    """Returns the default rules, changed as a file says if one is given. Raises ClickException."""
    if path is None:
        return policy_of()
    try:
        return policy_of(read_rules(path))
    except RuleError as error:
        raise click.ClickException(f"{path}: {error}") from None


def read_rules(path: Path) -> dict[Any, object]:
    """Reads the rules of a policy file, by name. Raises ClickException."""
    try:
        text = path.read_text(encoding="utf-8")
        for token in yaml.scan(text, yaml.SafeLoader):
            if isinstance(token, yaml.TagToken):
                line = token.start_mark.line + 1
                raise click.ClickException(f"{path}: line {line}: put a rule that starts with '!' in quotes")
        root = yaml.compose(text, yaml.SafeLoader)
        rules = yaml.safe_load(text)
    except OSError as error:
        raise click.ClickException(f"cannot read the policy file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise click.ClickException(f"{path} is not valid YAML: {_fault(error)}") from None
    if rules is None:
        return {}
    if not isinstance(root, yaml.MappingNode) or not isinstance(rules, dict):
        raise click.ClickException(f'{path} is not a list of rules: each line has to be "NAME": "RULE"')
    lines: dict[str, int] = {}
    for key, _value in root.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            raise click.ClickException(f"{path}: line {line}: rule '{name}' is already in line {lines[name]}")
        lines[name] = line
    return rules


def _fault(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


def sample_file() -> str:
    """Returns a policy file that changes nothing: every rule with its default, commented out."""
    lines = [
        "# Rules of the API, in the language of oslo.policy, each with its default. To change a rule, remove the '#'",
        "# before its name. The setting api.policy_file names the file.",
    ]
    for rule in RULES:
        lines += ["", f"# {rule.help[:1].upper()}{rule.help[1:]}.", *(f"# {request}" for request in rule.requests)]
        lines.append(f"#{json.dumps(rule.name)}: {json.dumps(rule.text)}")
    return "\n".join(lines) + "\n"


def group() -> click.Group:
    """Builds the group `policy`."""

    def check(file: Path) -> None:
        load_policy(file)
        count = len(read_rules(file))
        click.echo(f"{file} is valid; number of rules: {count}")

    return click.Group(
        "policy",
        help="The API's policy rules, which say who may do what.",
        commands=[
            click.Command(
                "show",
                callback=lambda: click.echo(sample_file(), nl=False),
                help="Print every rule with its default, as a policy file to start from.",
            ),
            click.Command(
                "check",
                callback=check,
                params=[click.Argument(["file"], type=click.Path(path_type=Path))],
                help="Check a policy file for errors.",
            ),
        ],
    )
