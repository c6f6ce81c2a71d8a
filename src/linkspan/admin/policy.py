"""The operator's policy file and `linkspan policy show|check`: YAML in, YAML out; what the rules mean is core's affair.

A file that cannot be used is refused whole, in one line with its name. YAML would take two lines for one rule and drop
a `!` that is not quoted, and a rule without a text would allow everybody: none of that passes here.
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
    """The rules of the API with a file's changes; without a file, as they are. Raises ClickException."""
    if path is None:
        return policy_of()
    try:
        return policy_of(read_rules(path))
    except RuleError as error:
        raise click.ClickException(f"{path}: {error}") from None


def read_rules(path: Path) -> dict[Any, object]:
    """What a policy file says, by the names of rules. Raises ClickException."""
    try:
        text = path.read_text(encoding="utf-8")
        for token in yaml.scan(text, yaml.SafeLoader):
            if isinstance(token, yaml.TagToken):
                line = token.start_mark.line + 1
                raise click.ClickException(f"{path}: line {line}: write a rule that begins with '!' in quotes")
        root = yaml.compose(text, yaml.SafeLoader)
        found = yaml.safe_load(text)
    except OSError as error:
        raise click.ClickException(f"cannot read the policy file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise click.ClickException(f"{path} is not valid YAML: {_fault(error)}") from None
    if found is None:
        return {}
    if not isinstance(root, yaml.MappingNode) or not isinstance(found, dict):
        raise click.ClickException(f'{path} is no list of rules: one is written "NAME": "RULE" on a line')
    lines: dict[str, int] = {}
    for key, _value in root.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            raise click.ClickException(f"{path}: line {line}: rule '{name}' stands in line {lines[name]} already")
        lines[name] = line
    return found


def _fault(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())


def sample_file() -> str:
    """Every rule as it is without a file, as comments: a policy file that changes nothing."""
    lines = [
        "# Rules of the API, in the language of oslo.policy. Each is commented out and shows its default: take the '#'",
        "# away from a line and change it. The setting api.policy_file names the file.",
    ]
    for rule in RULES:
        lines += ["", f"# {rule.help[:1].upper()}{rule.help[1:]}.", *(f"# {request}" for request in rule.asked)]
        lines.append(f"#{json.dumps(rule.name)}: {json.dumps(rule.text)}")
    return "\n".join(lines) + "\n"


def group() -> click.Group:
    """`linkspan policy`."""

    def check(file: Path) -> None:
        load_policy(file)
        count = len(read_rules(file))
        click.echo(f"{file}: the API can use it; rules in it: {count}")

    return click.Group(
        "policy",
        help="Who may do what: the API's policy rules.",
        commands=[
            click.Command(
                "show",
                callback=lambda: click.echo(sample_file(), nl=False),
                help="Print every rule with its default, as a policy file to begin with.",
            ),
            click.Command(
                "check",
                callback=check,
                params=[click.Argument(["file"], type=click.Path(path_type=Path))],
                help="Say whether the API can use a policy file.",
            ),
        ],
    )
