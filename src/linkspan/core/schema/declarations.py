"""What a declaration of the registry consists of: attributes, and the resource that has them."""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec

from linkspan.core.schema.attribute_types import AttributeType, Text, Uuid

REQUIRED: Final = msgspec.UNSET

STANDARD_ATTRIBUTES: Final = ("revision_number", "created_at", "updated_at")
"""Attributes that every object has in addition: Neutron's standard attributes. The store sets them, clients cannot."""


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute. `post` and `put`: a client may set it on create and on update; `stored`: it is a column of the
    resource's table; `privileged`: only an admin may set a value other than the default; `privileged_parts`: keys of
    its object that only an admin may set; `write_only`: a secret that no response has."""

    name: str
    kind: AttributeType
    help: str
    post: bool = True
    put: bool = True
    default: Any = REQUIRED
    secret: bool = False
    stored: bool = True
    privileged: bool = False
    privileged_parts: tuple[str, ...] = ()
    write_only: bool = False
    nullable: bool = False
    """Null is one of its values."""

    @property
    def required(self) -> bool:
        """True if a create request must set it."""
        return self.post and self.default is REQUIRED

    @property
    def filterable(self) -> bool:
        """True if the database can filter and sort by it."""
        return self.stored and not self.secret and self.kind.column != "json"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """A resource. Tables, CLI and log use `name`; the API uses `singular` and `plural`; error messages use `label`."""

    name: str
    singular: str
    plural: str
    path: str
    label: str
    not_found: str
    help: str
    attributes: tuple[Attribute, ...]
    writable: bool = True
    table_columns: tuple[str, ...] = ()
    """Attributes that the CLI lists in a table."""

    def __hash__(self) -> int:
        return hash(self.name)

    def __getitem__(self, name: str) -> Attribute:
        """An attribute by name. Raises KeyError."""
        return self.by_name[name]

    @property
    def by_name(self) -> dict[str, Attribute]:
        """The attributes by name."""
        return _by_name(self)


@functools.cache
def _by_name(resource: Resource) -> dict[str, Attribute]:
    return {attribute.name: attribute for attribute in resource.attributes}


def read_only(name: str, kind: AttributeType, help: str, **more: Any) -> Attribute:
    """An attribute that clients cannot set."""
    return Attribute(name=name, kind=kind, help=help, post=False, put=False, default=None, **more)


COMMON: Final = (
    read_only("id", Uuid(), "unique identifier"),
    Attribute(name="project_id", kind=Text(max_length=64), help="owning project", put=False, default=None),
    Attribute(name="name", kind=Text(), help="name; need not be unique", default=""),
    Attribute(name="description", kind=Text(controls="lines"), help="description", default=""),
)
