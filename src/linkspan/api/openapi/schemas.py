"""A resource of the registry as JSON Schemas: the bodies of create and update, and the object in responses.

The attribute types have the schemas of values; here they become objects. Bodies are closed, because an unknown
attribute is an error. Responses are closed too, so that tests detect an undeclared attribute.
"""

from __future__ import annotations

from typing import Final

from linkspan.api.attributes import Attributes
from linkspan.api.http.operation import Schema, described, ref
from linkspan.core.ipsec import crypto_profiles
from linkspan.core.schema.attribute_types import CIDR, Text, Uuid, nullable
from linkspan.core.schema.resources import (
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    IPSEC_POLICY,
    STANDARD_ATTRIBUTES,
    Attribute,
    Resource,
)

_PROJECT: Final = nullable(Text(max_length=64).schema())
_SAME_PROJECT: Final = "the same as project_id"
_KEPT: Final[dict[str, Schema]] = {
    "created_at": {"type": "string", "format": "date-time", "description": "when it was made, to the second"},
    "updated_at": {"type": "string", "format": "date-time", "description": "when it was last changed, to the second"},
    "revision_number": {"type": "integer", "minimum": 0, "description": "grows with every change"},
}
assert _KEPT.keys() == set(STANDARD_ATTRIBUTES)


def _group(types: Schema, item: Schema) -> Schema:
    many = {"type": "array", "items": item, "minItems": 1, "uniqueItems": True}
    return {"properties": {"type": types, "endpoints": {"oneOf": [many, item]}}, "required": ["endpoints"]}


def _profiles(policy: str) -> list[Schema]:
    given: list[Schema] = [
        {
            "properties": {crypto_profiles.ATTRIBUTE: {"const": profile.name}}
            | {name: {"const": value} for name, value in profile.values(policy).items()}
        }
        for profile in crypto_profiles.PROFILES.values()
    ]
    return [{"properties": {crypto_profiles.ATTRIBUTE: {"type": "null"}}}, *given]


_AT_ANY_TIME: Final = {policy.name: _profiles(policy.name) for policy in (IKE_POLICY, IPSEC_POLICY)}
"""Dependencies between attributes on create and update, as far as a schema can express them."""
_ONE_OF_THESE: Final[dict[str, list[Schema]]] = _AT_ANY_TIME | {
    CONNECTION.name: [
        {"required": ["psk"]},
        {"required": ["auth_mode"], "properties": {"auth_mode": {"const": "certs"}}},
    ],
    ENDPOINT_GROUP.name: [
        _group({"const": "cidr"}, CIDR),
        _group({"enum": ["subnet", "network", "router"]}, Uuid().schema()),
        _group({"const": "vlan"}, {"type": "string", "pattern": "^[0-9]{1,4}$"}),
    ],
}
"""Dependencies between attributes on create, as far as a schema can express them."""


def name(resource: Resource) -> str:
    """The name of the schemas of a resource."""
    return "".join(part.capitalize() for part in resource.name.split("_"))


def components(attributes: Attributes) -> dict[str, Schema]:
    """All schemas of a resource, by name."""
    resource = attributes.resource
    own = name(resource)
    fields = _shown(attributes)
    schemas: dict[str, Schema] = {
        f"{own}Fields": fields,
        own: {**ref(f"{own}Fields"), "description": resource.help, "required": sorted(fields["properties"])},
    }
    if resource.writable:
        schemas[f"{own}Create"] = _create(attributes)
        schemas[f"{own}Update"] = _update(attributes)
    return schemas


def _create(attributes: Attributes) -> Schema:
    resource = attributes.resource
    properties: dict[str, Schema] = {}
    for attribute in resource.attributes:
        if not attribute.post:
            continue
        schema = _accepted(attribute)
        if not attribute.required and attribute.default is not None:
            schema["default"] = attribute.default
        properties[attribute.name] = schema
    properties["project_id"] = described(_PROJECT, f"{resource['project_id'].help}; another one than yours: admin only")
    properties["tenant_id"] = described(_PROJECT, _SAME_PROJECT)
    required = [attribute.name for attribute in resource.attributes if attribute.required]
    body = _object(properties | _constants(attributes))
    if required:
        body["required"] = required
    if resource.name in _ONE_OF_THESE:
        body["anyOf"] = _ONE_OF_THESE[resource.name]
    return body


def _update(attributes: Attributes) -> Schema:
    resource = attributes.resource
    properties = {a.name: _accepted(a) for a in resource.attributes if a.put}
    alternatives = {"anyOf": _AT_ANY_TIME[resource.name]} if resource.name in _AT_ANY_TIME else {}
    return _object(properties | _constants(attributes)) | alternatives


def _object(properties: dict[str, Schema]) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _accepted(attribute: Attribute) -> Schema:
    schema = attribute.kind.schema()
    return described(nullable(schema) if attribute.nullable else schema, attribute.help)


def _constants(attributes: Attributes) -> dict[str, Schema]:
    return {
        name: {"enum": [value] if value is None else [value, None], "description": "has this one value here"}
        for name, value in attributes.constants.items()
    }


def _shown(attributes: Attributes) -> Schema:
    properties: dict[str, Schema] = {}
    for attribute in attributes.resource.attributes:
        schema = attribute.kind.shown()
        may_be_null = attribute.nullable or attribute.secret
        properties[attribute.name] = described(nullable(schema) if may_be_null else schema, _help(attribute))
    for attribute_name, value in attributes.always.items():
        properties[attribute_name] = properties.get(attribute_name, {}) | {"const": value}
    for attribute_name, kind in attributes.derived.items():
        properties[attribute_name] = kind.shown()
    properties["tenant_id"] = {"type": "string", "description": _SAME_PROJECT}
    return _object(properties | _KEPT)


def _help(attribute: Attribute) -> str:
    return f"{attribute.help}; null for callers that may not read it" if attribute.secret else attribute.help
