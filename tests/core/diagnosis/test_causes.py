"""The registry of causes: each code has one declaration, and every sentence can be made."""

from __future__ import annotations

import string
from pathlib import Path
from typing import get_args

import pytest

import linkspan
from linkspan.core.diagnosis import causes
from linkspan.core.diagnosis.catalogue.declared import Declared
from linkspan.core.diagnosis.causes import CAUSES, root, sentence
from linkspan.core.diagnosis.codes import Code

ALL = [*CAUSES.values()]


def test_every_code_is_declared_once() -> None:
    assert [*CAUSES] == sorted(CAUSES, key=[*CAUSES].index)
    assert set(CAUSES) == set(get_args(Code))


def test_every_code_is_given_somewhere() -> None:
    """What is declared and never said is a promise that nobody keeps."""
    package = Path(linkspan.__file__).parent
    declaring = {*package.glob("core/diagnosis/catalogue/*.py"), package / "core/diagnosis/codes.py"}
    text = "".join(path.read_text() for path in package.rglob("*.py") if path not in declaring)
    assert [code for code in CAUSES if f'"{code}"' not in text] == []


@pytest.mark.parametrize("declared", ALL, ids=lambda declared: str(declared.code))
def test_every_sentence_names_its_values_and_is_one(declared: Declared) -> None:
    for variant in ("", *declared.variants):
        text = declared.variants[variant] if variant else declared.sentence
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
        shown = sentence(declared.code, variant, **{name: f"<{name}>" for name in names})
        assert all(f"<{name}>" in shown for name in names)
        assert not shown.endswith(".")
        assert shown[0] == shown[0].lower() or shown.startswith("UDP") or text.startswith("{")


@pytest.mark.parametrize("declared", ALL, ids=lambda declared: str(declared.code))
def test_a_cause_that_somebody_has_to_mend_says_how(declared: Declared) -> None:
    assert declared.severity == "info" or declared.ours or declared.peers
    assert 0 <= declared.confidence <= 1
    assert set(declared.depends_on) <= set(CAUSES)


def test_a_cause_that_explains_others_comes_first() -> None:
    assert root(["PEER_NO_REPLY", "LOCAL_LINK_DOWN"]) == "LOCAL_LINK_DOWN"
    assert root(["PEER_NO_REPLY", "PSK_MISMATCH"]) == "PEER_NO_REPLY"
    assert root([]) is None


def test_a_code_of_a_newer_agent_has_no_declaration() -> None:
    assert causes.declaration("SOMETHING_NEW") is None
    assert causes.layer_of("SOMETHING_NEW") is None
