"""The caller of a request: user, project and roles."""

from __future__ import annotations

from typing import Final

import msgspec

from linkspan.core.authorization.policy import NO_RULES, Policy


class Caller(msgspec.Struct, frozen=True):
    """The caller of a request: a user, the project that the request acts in, and the roles there.

    `policy`: the meaning of the roles; the dispatcher sets it, and without it nothing is allowed.
    """

    user_id: str
    name: str
    project_id: str
    roles: frozenset[str]
    policy: Policy = NO_RULES


NOBODY: Final = Caller("", "", "", frozenset())
