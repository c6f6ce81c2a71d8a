"""Conversion of a resource's attributes: of requests to values, and of rows to responses.

The tables are made once, from the registry. Each value of a request is converted by its attribute type; rows are
trusted. Unknown attributes, and those that a client may not set, are refused. Rules that involve other objects are not
checked here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from linkspan.api.http.caller import Caller
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError, invalid
from linkspan.core.schema.attribute_types import AttributeType, Text
from linkspan.core.schema.resources import STANDARD_ATTRIBUTES, Attribute, Resource
from linkspan.core.secret import Secret
from linkspan.core.state import status
from linkspan.store.rows.row import Row
from linkspan.store.transaction import Values

_PROJECT: Final = Text(max_length=64)


class Attributes:
    """A resource's attributes.

    `constants`: attributes of Neutron that have one value here; a request may contain that value. `special`: names that
    the resource's hooks convert. `always`: values that every object shows. `derived`: names and types of booleans that
    rows have although the registry does not. `defaults`: replace the registry's. `parent`: the rule for creation needs
    another object, so the hooks check it. `extra`: scalars of responses that are not in the registry, for `list_query`.
    """

    def __init__(
        self,
        resource: Resource,
        constants: Mapping[str, Any] | None = None,
        special: tuple[str, ...] = (),
        always: Mapping[str, Any] | None = None,
        derived: Mapping[str, AttributeType] | None = None,
        defaults: Mapping[str, Any] | None = None,
        parent: bool = False,
    ) -> None:
        self.resource = resource
        self._parent = parent
        self.constants = dict(constants or {})
        self.derived = dict(derived or {})
        self._special = frozenset(special)
        self._known = (
            {a.name for a in resource.attributes}
            | set(self.constants)
            | {*STANDARD_ATTRIBUTES, "tenant_id", *self.derived}
        )
        self._post: dict[str, Attribute] = {a.name: a for a in resource.attributes if a.post}
        self._put: dict[str, Attribute] = {a.name: a for a in resource.attributes if a.put}
        self._required = tuple(a.name for a in resource.attributes if a.required)
        self._defaults = tuple(
            (a.name, (defaults or {}).get(a.name, a.default))
            for a in resource.attributes
            if a.post and not a.required and a.name not in ("project_id", *special)
        )
        self._secrets = tuple(a.name for a in resource.attributes if a.secret and not a.write_only)
        self._hidden = dict.fromkeys(a.name for a in resource.attributes if a.write_only)
        self.has_secrets = bool(self._secrets)
        self.always = {**(always or {}), **self.constants}
        # An attribute that a row lacks reads null.
        names = ("id", "tenant_id", *(a.name for a in resource.attributes), *self.derived)
        self._blank: Values = dict.fromkeys(names) | self.always
        scalars = {name: value for name, value in self.always.items() if not isinstance(value, list | dict)}
        self.extra = dict.fromkeys(self.derived, False) | {
            name: value for name, value in scalars.items() if name not in resource.by_name
        }

    # --- in -----------------------------------------------------------------------------------------------------

    def _check_names(self, raw: Mapping[str, Any], allowed: Mapping[str, Attribute], refusal: str) -> None:
        """Raises ApiError for a name that is unknown or not `allowed`; `refusal` has a place for the name."""
        unknown = [name for name in raw if name not in self._known]
        if unknown:
            raise ApiError("HTTPBadRequest", f"Unrecognized attribute(s) '{', '.join(unknown)}'")
        for name, value in raw.items():
            if name in self.constants:
                if value is not None and value != self.constants[name]:
                    raise invalid(name, f"only '{self.constants[name]}' is supported")
            elif name not in allowed and not (name == "tenant_id" and "project_id" in allowed):
                raise ApiError("HTTPBadRequest", refusal.format(name))

    def for_create(self, raw: Mapping[str, Any], caller: Caller) -> Values:
        """The values of a new object: converted, defaults filled in, with its project. Raises ApiError."""
        self._check_names(raw, self._post, "Attribute '{}' not allowed in POST")
        for name in self._required:
            if name not in raw:
                raise ApiError("HTTPBadRequest", f"Failed to parse request. Required attribute '{name}' not specified")
        values: Values = {"project_id": _project(raw, caller)}
        for name, default in self._defaults:
            if name not in raw:
                values[name] = default
        for name, value in raw.items():
            attribute = self._post.get(name)
            if attribute is None or name == "project_id" or name in self._special:
                continue
            values[name] = _secret(attribute, value) if attribute.secret else attribute.kind.convert(name, value)
        if not self._parent:
            policy.require(caller, "create", self.resource, values)
        policy.require_values(caller, "create", self.resource, values, values)
        return values

    def check_update(self, raw: Mapping[str, Any]) -> None:
        """Raises ApiError for a name that an update cannot have."""
        self._check_names(raw, self._put, "Cannot update read-only attribute {}")

    def for_update(self, raw: Mapping[str, Any], row: Row) -> Values:
        """The values that an update asks for, merged over what is stored. Raises ApiError."""
        values: Values = {}
        for name, value in raw.items():
            attribute = self._put.get(name)
            if attribute is None or name in self._special:
                continue
            if attribute.secret:
                values[name] = _secret(attribute, value)
            else:
                values[name] = attribute.kind.merge(name, row.get(name), value)
        return values

    # --- out ----------------------------------------------------------------------------------------------------

    def view(self, row: Row, now: float, grace: float, with_secrets: bool) -> Values:
        """Returns a row as clients read it. Without `with_secrets` a secret is null; a `write_only` one always is."""
        shown = self._blank | row
        shown |= self._hidden
        shown["tenant_id"] = row["project_id"]
        for name in self._secrets:
            secret = row.get(name) if with_secrets else None
            shown[name] = secret.reveal() if secret is not None else None
        if row.status_inputs is not None:
            verdict = status.compute(row.status_inputs, now, grace)
            shown["status"], shown["status_reason"], shown["status_code"] = verdict
        return shown


def _secret(attribute: Attribute, value: Any) -> Secret | None:
    """Converts a secret from a request. The error text does not contain the secret."""
    if value is None and attribute.nullable:
        return None
    if not isinstance(value, str | None):
        # As text it would be in the error, in whatever form its JSON type has.
        raise invalid(attribute.name, "'***' is not a valid string")
    try:
        return Secret(attribute.kind.convert(attribute.name, value))
    except ApiError as problem:
        raise ApiError(problem.type, problem.message.replace(value, "***") if value else problem.message) from None


def _project(raw: Mapping[str, Any], caller: Caller) -> str:
    """The project of a new object: the caller's, or the one that an admin names."""
    names = [name for name in ("project_id", "tenant_id") if raw.get(name) is not None]
    wanted = [project for name in names if (project := _PROJECT.convert(name, raw[name]))]
    if len(set(wanted)) > 1:
        raise ApiError("HTTPBadRequest", "'project_id' and 'tenant_id' do not match")
    project = wanted[0] if wanted else caller.project_id
    if project != caller.project_id and not policy.is_admin(caller):
        message = (
            "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires "
            "admin privileges"
        )
        raise ApiError("HTTPBadRequest", message)
    return project


def echo(resource: Resource, raw: Mapping[str, Any], shown: Values) -> Values:
    """An updated object as its PUT is answered: a lifetime's value in the type that it was sent in."""
    lifetime = raw.get("lifetime")
    if "lifetime" in resource.by_name and isinstance(lifetime, dict) and isinstance(lifetime.get("value"), str):
        shown["lifetime"] = shown["lifetime"] | {"value": lifetime["value"]}
    return shown
