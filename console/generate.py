"""Generates what the console takes from the API's own declarations, into console/src/generated/.

`registry.json`: the resources and their attributes. `causes.json`: the causes that a connection is not as desired. With
`--openapi`, on standard output: the schemas and the operations beyond plain CRUD, from which `./dev console types`
makes `api.d.ts`. `--check` writes nothing, and fails if one of the files is out of date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from linkspan.core.diagnosis.causes import CAUSES  # noqa: E402 # below the path
from linkspan.core.ipsec import algorithms  # noqa: E402
from linkspan.core.ipsec.crypto_profiles import PROFILES  # noqa: E402
from linkspan.core.peer_side.device import Device  # noqa: E402
from linkspan.core.peer_side.formats.registry import FORMATS  # noqa: E402
from linkspan.core.schema.resources import REQUIRED, RESOURCES, Attribute, Resource  # noqa: E402

GENERATED = HERE / "src" / "generated"


def registry() -> dict[str, Any]:
    """The resources, the crypto profiles, words about algorithms, and the formats of peer configurations."""
    return {
        "resources": {resource.singular: _resource(resource) for resource in RESOURCES},
        "cryptoProfiles": list(PROFILES),
        "weakAlgorithms": sorted(algorithms.WEAK),
        "aeadAlgorithms": [name for name in algorithms.ENCRYPTION if algorithms.is_aead(name)],
        "peerFormats": [
            {"name": name, "title": item.title, "device": _device(item.device)} for name, item in FORMATS.items()
        ],
    }


def _device(item: Device) -> dict[str, Any]:
    """What a device can do, as far as a choice at this end depends on it."""
    return {
        "versions": sorted(item.versions),
        "ike": {
            "encryption_algorithm": list(item.ike_encryption),
            "auth_algorithm": list(item.ike_integrity),
            "pfs": list(item.ike_groups),
        },
        "ipsec": {
            "encryption_algorithm": list(item.encryption),
            "auth_algorithm": list(item.integrity),
            "pfs": list(item.groups),
        },
        "groupsOfV1": None if item.groups_of_v1 is None else list(item.groups_of_v1),
        "oneGroup": item.one_group,
        "ikeLifetime": item.ike_lifetime,
        "childLifetime": item.child_lifetime,
        "pairs": item.pairs,
        "ipv6": item.ipv6,
        "certificates": item.certificates,
        "identities": sorted(item.identities),
        "addressesAreIdentities": item.addresses_are_identities,
        "psk": {"pattern": item.psk.pattern, "words": item.psk.words},
    }


def causes() -> dict[str, Any]:
    """The causes by their codes: a few words, how bad it is, and the layer."""
    return {
        code: {"title": cause.title, "severity": cause.severity, "layer": cause.layer} for code, cause in CAUSES.items()
    }


def _resource(resource: Resource) -> dict[str, Any]:
    return {
        "singular": resource.singular,
        "plural": resource.plural,
        "path": f"v2.0/{resource.path}",
        "help": resource.help,
        "writable": resource.writable,
        "columns": list(resource.table_columns),
        "attributes": [_attribute(item) for item in resource.attributes],
    }


def _attribute(item: Attribute) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": item.name,
        "help": item.help,
        "post": item.post,
        "put": item.put,
        "required": item.required,
        "secret": item.secret,
        "privileged": item.privileged,
        "privilegedParts": list(item.privileged_parts),
        "nullable": item.nullable,
        "schema": item.kind.schema(),
    }
    if item.default is not REQUIRED:
        described["default"] = item.default
    return described


def openapi() -> dict[str, Any]:
    """The part of the OpenAPI document that the console has types of."""
    from tests.api.openapi.conformance import whole

    document = whole()
    paths = {}
    for path, item in document["paths"].items():
        if "/linkspan/" in path or path.startswith("/v2.0/vpn/ipsec-site-connections/{id}/") or "quotas" in path:
            paths[path] = {
                method: {
                    "operationId": operation["operationId"],
                    "responses": {
                        code: answer for code, answer in operation["responses"].items() if code.startswith("2")
                    },
                }
                for method, operation in item.items()
                if isinstance(operation, dict) and "responses" in operation
            }
    return {**{key: document[key] for key in ("openapi", "info", "components")}, "paths": paths}


def main() -> int:
    """Writes, checks or prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--openapi", action="store_true")
    arguments = parser.parse_args()
    if arguments.openapi:
        json.dump(openapi(), sys.stdout)
        return 0
    files = {GENERATED / "registry.json": registry(), GENERATED / "causes.json": causes()}
    texts = {path: json.dumps(value, indent=1, sort_keys=True) + "\n" for path, value in files.items()}
    if arguments.check:
        return int(any(not path.exists() or path.read_text() != text for path, text in texts.items()))
    for path, text in texts.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
