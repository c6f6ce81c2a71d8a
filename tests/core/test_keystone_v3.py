"""Keystone v3 messages: requests are parsed or refused, roles imply each other, responses of Keystone are parsed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core import keystone_v3
from linkspan.core.errors import ApiError
from linkspan.core.keystone_v3 import METHODS, TokenRequest, TokenScope, User, ValidatedToken
from linkspan.core.secret import Secret

WORDS = (
    "auth", "identity", "methods", "password", "token", "application_credential", "user", "domain", "id", "name",
    "secret", "scope", "project", "unscoped", "system", "default", "Default", "",
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(WORDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
USERS = st.fixed_dictionaries({}, optional={"id": VALUES, "name": VALUES, "domain": VALUES, "password": VALUES})
BODIES = st.fixed_dictionaries(
    {
        "auth": st.fixed_dictionaries(
            {
                "identity": st.fixed_dictionaries(
                    {"methods": st.lists(st.sampled_from(METHODS), max_size=2)},
                    optional={
                        "password": st.fixed_dictionaries({}, optional={"user": USERS}),
                        "token": st.fixed_dictionaries({}, optional={"id": VALUES}),
                        "application_credential": st.fixed_dictionaries(
                            {}, optional={"id": VALUES, "name": VALUES, "secret": VALUES, "user": USERS}
                        ),
                    },
                )
            },
            optional={"scope": VALUES},
        )
    }
)


@given(VALUES | BODIES)
def test_any_body_is_parsed_or_refused(body: Any) -> None:
    try:
        request = keystone_v3.parse_token_request(body)
    except ApiError as problem:
        if problem.status not in (400, 401):
            raise
        return
    assert request.method in METHODS
    texts = (
        request.user.id,
        request.user.name,
        request.credential_id,
        request.scope.project_id,
        request.scope.project_name,
    )
    assert "\x00" not in "".join(texts)


def test_a_password_request_is_parsed() -> None:
    user = {"name": "ada", "domain": {"id": "default"}, "password": "pw"}
    body = {
        "auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": {"id": "p"}}}
    }
    assert keystone_v3.parse_token_request(body) == TokenRequest(
        method="password", secret=Secret("pw"), user=User(name="ada"), scope=TokenScope(project_id="p")
    )
    assert "pw" not in repr(keystone_v3.parse_token_request(body))


@pytest.mark.parametrize(
    ("roles", "implied"),
    [
        ([], set()),
        (["reader"], {"reader"}),
        (["Member"], {"member", "reader"}),
        (["admin"], {"admin", "manager", "member", "reader"}),
        (["auditor"], {"auditor"}),
    ],
)
def test_roles_imply_lower_roles(roles: list[str], implied: set[str]) -> None:
    assert keystone_v3.implied(roles) == implied
    assert keystone_v3.implied(keystone_v3.implied(roles)) == implied


@pytest.mark.parametrize("text", ["2030-01-31T12:00:00Z", "2030-01-31T12:00:00.000000Z", "2030-01-31T13:00:00+01:00"])
def test_times_are_normalized_to_utc(text: str) -> None:
    assert keystone_v3.time_text(keystone_v3.time_of(text)) == "2030-01-31T12:00:00.000000Z"
    assert keystone_v3.time_text_without_zone(keystone_v3.time_of(text)) == "2030-01-31T12:00:00.000000"


def test_a_validated_token_is_parsed() -> None:
    token = {
        "user": {"id": "u", "name": "ada"},
        "project": {"id": "p", "name": "blue"},
        "roles": [{"name": "admin"}],
        "expires_at": "1970-01-01T00:01:00.000000Z",
    }
    assert keystone_v3.parse_validated_token({"token": token}) == ValidatedToken(
        "u", "ada", "p", keystone_v3.implied(["admin"]), 60.0
    )


@given(VALUES)
def test_another_response_is_refused(body: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        keystone_v3.parse_validated_token(body)
