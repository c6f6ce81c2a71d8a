"""The operator's policy file: accepted and refused files, and the sample that `linkspan policy show` prints."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from linkspan.admin import policy
from linkspan.bootstrap import command_line
from linkspan.core.authorization.default_rules import RULES


def write(folder: Path, text: str) -> Path:
    file = folder / "policy.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", {}),
        ("# nothing but a comment\n", {}),
        ('"get_node": "role:auditor"\n', {"get_node": "role:auditor"}),
        ("get_node: role:a or\n  role:b\n", {"get_node": "role:a or role:b"}),
        ('get_node: "!"\n', {"get_node": "!"}),
        ("get_node: [[role:a, role:b], [role:c]]\n", {"get_node": [["role:a", "role:b"], ["role:c"]]}),
    ],
)
def test_valid_files(tmp_path: Path, text: str, rules: dict[str, object]) -> None:
    file = write(tmp_path, text)
    assert policy.read_rules(file) == rules
    policy.load_policy(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("get_node: @\n", "is not valid YAML: line 1: found character '@'"),
        ("get_node: !\n", "line 1: put a rule that starts with '!' in quotes"),
        ("get_node: ! role:a\n", "line 1: put a rule that starts with '!' in quotes"),
        (
            "get_node: role:a\nget_router: role:a\nget_node: role:b\n",
            "line 3: rule 'get_node' is already in line 1",
        ),
        ("- get_node\n", "is not a list of rules"),
        ("role:admin\n", "is not a list of rules"),
        ("get_node:\n", "rule 'get_node': a rule must be a string, not None"),
        (
            "get_nodes: role:a\n",
            "rule 'get_nodes' is unknown, and no other rule references it; did you mean 'get_node'?",
        ),
        ("a: [\n", "is not valid YAML: line 2"),
        ("a: \x00\n", "is not valid YAML"),
    ],
)
def test_refused_files(tmp_path: Path, text: str, words: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(click.ClickException) as caught:
        policy.load_policy(file)
    assert words in caught.value.message
    assert str(file) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=r"cannot read the policy file .*absent: No such file"):
        policy.load_policy(tmp_path / "absent")


def test_the_sample_changes_nothing_and_contains_every_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.execute(["policy", "show"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text) is None
    uncommented = "\n".join(line.removeprefix("#") if line.startswith('#"') else line for line in text.splitlines())
    assert policy.read_rules(write(tmp_path, uncommented)) == {rule.name: rule.text for rule in RULES}
    policy.load_policy(tmp_path / "policy.yaml")


def test_a_file_is_checked_before_the_api_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = write(tmp_path, "get_node: role:auditor\n"), tmp_path / "bad.yaml"
    bad.write_text("get_noed: role:auditor\n", encoding="utf-8")
    assert command_line.execute(["policy", "check", str(good)]) == 0
    assert capsys.readouterr().out == f"{good} is valid; number of rules: 1\n"
    assert command_line.execute(["policy", "check", str(bad)]) == 1
    error = capsys.readouterr().err
    assert error.endswith("did you mean 'get_node'?\n")
    settings = tmp_path / "linkspan.toml"
    settings.write_text(f'state = "{tmp_path}/state"\n[api]\nport = 1\npolicy_file = "{bad}"\n', encoding="utf-8")
    assert command_line.execute(["api", "--config", str(settings)]) == 1
    assert capsys.readouterr().err == error
