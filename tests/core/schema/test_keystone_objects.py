"""Projects and users as clients of Keystone write them, and filters of lists."""

from __future__ import annotations

from typing import Any

import pytest

from linkspan.core.errors import ApiError
from linkspan.core.schema import keystone_objects
from linkspan.core.schema.keystone_objects import matches, page, parse_password_change, parse_project, parse_user
from linkspan.core.secret import Secret

PARSE = {"project": parse_project, "user": parse_user}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("project", {}),
        ("project", {"name": ""}),
        ("project", {"name": " \t"}),
        ("project", {"name": "x" * 256}),
        ("project", {"name": "a\u202eb"}),
        ("project", {"name": 5}),
        ("project", {"name": "x", "enabled": "yes"}),
        ("project", {"name": "x", "domain_id": "other"}),
        ("project", {"name": "x", "parent_id": "p"}),
        ("project", {"name": "x", "is_domain": True}),
        ("project", {"name": "x", "tags": ["one"]}),
        ("project", {"name": "x", "options": {"immutable": True}}),
        ("project", {"name": "x", "password": "a long password"}),
        ("project", {"name": "x", "colour": "green"}),
        ("user", {"password": "a new password"}),
        ("user", {"name": "x", "password": "elevenchars"}),
        ("user", {"name": "x", "password": 123456789012}),
        ("user", {"name": "x", "password": "x" * 1025}),
        ("user", {"name": "x", "default_project_id": 5}),
        ("user", {"name": "x", "email": ["x"]}),
        ("user", {"name": "x", "original_password": "a new password"}),
        ("user", {"name": "x", "options": {"ignore_password_expiry": True}}),
    ],
)
def test_what_cannot_be_written_is_refused(kind: str, values: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as caught:
        PARSE[kind](values, create=True)
    assert caught.value.status == 400
    assert caught.value.message.endswith(".")
    assert str(values.get("password") or "-") not in caught.value.message


@pytest.mark.parametrize("name", ["domain_id", "parent_id", "is_domain", "tags", "options", "federated"])
def test_what_has_one_value_may_be_given(name: str) -> None:
    only = keystone_objects._FIXED[name]
    for value in (only, None):
        assert parse_project({"name": "x", name: value}, create=True) == {"name": "x"}
        assert parse_user({name: value}, create=False) == {}
    with pytest.raises(ApiError, match=f"(?i){name}"):
        parse_user({name: "another"}, create=False)


def test_null_is_nothing() -> None:
    given = dict.fromkeys(("description", "email", "enabled", "default_project_id", "password"))
    assert parse_user(given, create=False) == {"description": "", "email": None, "default_project_id": None}
    assert parse_user({"email": "", "default_project_id": ""}, create=False) == {
        "email": None,
        "default_project_id": None,
    }


def test_the_default_project_has_two_names() -> None:
    assert parse_user({"project_id": "p"}, create=False) == {"default_project_id": "p"}
    assert parse_user({"project_id": "q", "default_project_id": "p"}, create=False) == {"default_project_id": "p"}
    with pytest.raises(ApiError):
        parse_project({"project_id": "p"}, create=False)


def test_a_password_is_a_secret() -> None:
    password = parse_user({"password": "correct horse"}, create=False)["password"]
    assert isinstance(password, Secret)
    assert password.reveal() == "correct horse"
    original, new = parse_password_change({"original_password": "x", "password": "correct horse"})
    assert (original.reveal(), new.reveal()) == ("x", "correct horse")
    for raw in ({"password": "correct horse"}, {"original_password": "x"}, {"original_password": "x", "password": "y"}):
        with pytest.raises(ApiError):
            parse_password_change(raw)


SHOWN: dict[str, Any] = {"id": "1", "name": "Green", "email": None, "enabled": True, "is_domain": False, "tags": []}


@pytest.mark.parametrize(
    ("key", "value", "fits"),
    [
        ("name", "Green", True),
        ("name", "green", False),
        ("name__exact", "green", False),
        ("name__iexact", "green", True),
        ("name__contains", "ree", True),
        ("name__contains", "REE", False),
        ("name__icontains", "REE", True),
        ("name__startswith", "Gr", True),
        ("name__startswith", "reen", False),
        ("name__istartswith", "gr", True),
        ("name__endswith", "en", True),
        ("name__endswith", "Gree", False),
        ("name__iendswith", "EN", True),
        ("name__of", "x", True),
        ("email", "x", False),
        ("email__contains", "", True),
        ("enabled", "", True),
        ("enabled", "True", True),
        ("enabled", "1", True),
        ("enabled", "0", False),
        ("enabled", "FALSE", False),
        ("is_domain", "false", True),
        ("is_domain", "true", False),
        ("tags", "x", True),
        ("colour", "x", True),
    ],
)
def test_filters(key: str, value: str, fits: bool) -> None:
    assert matches(SHOWN, [(key, value)]) is fits
    assert matches(SHOWN, [("name", "Green"), (key, value)]) is fits


def test_pages() -> None:
    objects = [{"id": id} for id in "abcde"]

    def ids(**parameters: str) -> str:
        return "".join(shown["id"] for shown in page(objects, parameters.items()))

    assert ids() == ids(limit="0") == ids(limit="99999999999") == "abcde"
    assert ids(limit="2") == "ab"
    assert ids(limit="2", marker="b") == "cd"
    assert ids(marker="e") == ids(marker="x") == ""
    for limit in ("-1", "two", "", "\u0662"):
        with pytest.raises(ApiError, match=r"(?i)limit"):
            ids(limit=limit)
