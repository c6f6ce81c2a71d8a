"""Discovery: versions, extensions, service providers and health.

Links are absolute and use the host of the request. Versions and health need no authentication; extensions need it in
Neutron too.
"""

from __future__ import annotations

from typing import Any, Final

from linkspan import __version__
from linkspan.api.http.messages import Request, Response, neutron_error, ok
from linkspan.api.http.operation import Operation, Schema, closed
from linkspan.api.http.route import Route
from linkspan.core.foresight import dry_runs
from linkspan.core.schema.resources import RESOURCES
from linkspan.store.identity import users
from linkspan.store.store import Store

_UPDATED: Final = "2026-01-01T00:00:00-00:00"
EXTENSIONS: Final[dict[str, tuple[str, str, str]]] = {
    "vpnaas": ("VPN service", "Extension for VPN service", "2013-05-29T10:00:00-00:00"),
    "vpn-endpoint-groups": (
        "VPN Endpoint Groups",
        "VPN endpoint groups support",
        "2015-08-04T10:00:00-00:00",
    ),
    "vpn-flavors": (
        "VPN Service Flavor Extension",
        "Flavor support for vpnservices.",
        "2017-04-19T00:00:00-00:00",
    ),
    "vpn-certificates": (
        "VPN Certificates",
        "Certificates, trust anchors, and connections with auth_mode certs",
        _UPDATED,
    ),
    "vpn-aes-ctr": ("VPN AES-CTR", "AES-CTR encryption algorithms for VPN policies", _UPDATED),
    "vpn-aes-ccm-gcm": ("VPN AES-CCM and AES-GCM", "AEAD encryption algorithms for VPN policies", _UPDATED),
    "agent": ("agent", "The gateway nodes as agents, for admins", "2013-02-03T10:00:00-00:00"),
    "availability_zone": (
        "Availability Zone",
        "The availability zones, of which there are none",
        "2015-01-01T10:00:00-00:00",
    ),
    "router": ("Neutron L3 Router", "Routers and their interfaces", "2012-07-20T10:00:00-00:00"),
    "net-mtu": ("Network MTU", "mtu of networks", "2015-03-25T10:00:00-00:00"),
    "net-mtu-writable": ("Network MTU (writable)", "mtu of networks can be set", "2017-07-12T00:00:00-00:00"),
    "project-id": ("project_id field enabled", "project_id on every object", "2016-09-09T09:09:09-09:09"),
    "sorting": ("Sorting support", "Lists can be sorted", "2016-06-12T00:00:00-00:00"),
    "sort-key-validation": ("Sort keys validation", "Unknown sort keys are refused", "2018-07-04T10:00:00-00:00"),
    "pagination": ("Pagination support", "Lists can be read in pages", "2016-06-12T00:00:00-00:00"),
    "filter-validation": (
        "Filter parameters validation",
        "Unknown filters are refused",
        "2018-07-04T10:00:00-00:00",
    ),
    "empty-string-filtering": (
        "Empty String Filtering Extension",
        "Filters can have an empty value",
        "2018-05-01T10:00:00-00:00",
    ),
    "ip-substring-filtering": (
        "IP address substring filtering",
        "Ports are found by a part of an address",
        "2017-11-28T09:00:00-00:00",
    ),
    "subnet-external-network": (
        "Subnet belongs to an external network",
        "router:external of subnets",
        "2024-02-05T18:00:00-00:00",
    ),
    "external-net": ("Neutron external network", "External networks", "2013-01-14T10:00:00-00:00"),
    "quotas": ("Quota management support", "Quotas per project", "2012-07-29T10:00:00-00:00"),
    "quota_details": ("Quota details management support", "What a project uses beside its quotas", _UPDATED),
    "quota-check-limit": ("Quota engine limit check", "A quota below what is used is refused on demand", _UPDATED),
    "revision-if-match": ("If-Match by revision_number", "Writes that are meant for one revision", _UPDATED),
    "standard-attr-description": (
        "standard-attr-description",
        "description on every object",
        "2016-02-10T10:00:00-00:00",
    ),
    "standard-attr-tag": (
        "Tag support for resources with standard attribute: network, subnet, router, port",
        "Tags of networks, subnets, routers and ports",
        "2017-01-01T00:00:00-00:00",
    ),
    "tag-creation": ("Tag creation extension", "Several tags can be added at once", "2024-07-23T10:00:00-00:00"),
    "standard-attr-revisions": ("Resource revision numbers", "revision_number on every object", _UPDATED),
    "standard-attr-timestamp": ("Resource timestamps", "created_at and updated_at on every object", _UPDATED),
    "linkspan-status-reason": (
        "Status reason",
        "status_reason and status_code: why an object is not ACTIVE",
        _UPDATED,
    ),
    "vpn-no-sha1-3des": (
        "VPN without SHA-1 and 3DES",
        "Weak algorithms are refused in VPN policies: sha1, 3des, group2, group5",
        _UPDATED,
    ),
    "linkspan-crypto-profiles": ("Crypto profiles", "Names for the algorithms of VPN policies", _UPDATED),
    "linkspan-diagnosis": ("Diagnosis", "The layers and live facts of a connection", _UPDATED),
    dry_runs.EXTENSION: ("Dry run", "dry_run=true: what a request would do to connections", _UPDATED),
    "linkspan-probe": ("Probe", "Packets to the peer of a connection, and what came back", _UPDATED),
    "linkspan-compare": ("Compare", "A connection against the configuration of its peer", _UPDATED),
    "linkspan-nodes": ("Gateway nodes", "The nodes that carry gateways, for admins", _UPDATED),
}
"""alias -> name, description, updated."""
_OF_REFUSALS: Final = "vpn-no-sha1-3des"
"""The extension that is there while the settings refuse weak algorithms."""


class Discovery:
    """Handlers of the paths that describe the service. `refuses_weak`: it refuses weak algorithms in policies."""

    def __init__(self, store: Store, refuses_weak: bool = False) -> None:
        self._store = store
        self._extensions = {alias: _extension(alias) for alias in EXTENSIONS if refuses_weak or alias != _OF_REFUSALS}

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("GET", "/", self.versions, public=True, operation=_VERSIONS),
            Route("GET", "/v2.0", self.version, public=True, operation=_V2),
            Route("GET", "/v2.0/extensions", self.extensions, operation=_EXTENSIONS),
            Route("GET", "/v2.0/extensions/{id}", self.extension, operation=_EXTENSION),
            Route("GET", "/v2.0/service-providers", self.providers, operation=_PROVIDERS),
            Route("GET", "/healthz", self.health, public=True, operation=_HEALTH),
        ]

    def versions(self, request: Request) -> Response:
        """The versions of the API, in Neutron's shape."""
        return ok({"versions": [_version(request)]})

    def version(self, request: Request) -> Response:
        """Version 2.0, as what Neutron and what keystoneauth expect there."""
        resources = [
            {
                "name": resource.singular,
                "collection": resource.plural,
                "links": [{"rel": "self", "href": f"{request.base}/v2.0/{resource.path}"}],
            }
            for resource in RESOURCES
        ]
        return ok({"resources": resources, "version": _version(request)})

    def extensions(self, request: Request) -> Response:
        """All extensions."""
        return ok({"extensions": [*self._extensions.values()]})

    def extension(self, request: Request) -> Response:
        """One extension, by its alias."""
        if request.id not in self._extensions:
            return neutron_error("HTTPNotFound", f"Extension with alias {request.id} does not exist", 404)
        return ok({"extension": self._extensions[request.id]})

    def providers(self, request: Request) -> Response:
        """Returns the one provider of VPN services."""
        return ok({"service_providers": [{"service_type": "VPN", "name": "strongswan", "default": True}]})

    def health(self, request: Request) -> Response:
        """Answers 200 if the API can reach its database, else 503."""
        with self._store.read() as tx:
            users.project(tx, id="")
        return ok({"status": "ok", "version": __version__})


def _version(request: Request) -> dict[str, Any]:
    return {"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{request.base}/v2.0/"}]}


def _extension(alias: str) -> dict[str, Any]:
    name, description, updated = EXTENSIONS[alias]
    return {"name": name, "alias": alias, "description": description, "updated": updated, "links": []}


# --- OpenAPI operations -------------------------------------------------------------------------------------------

_TEXT: Final = {"type": "string"}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


_SELF: Final = closed(rel={"const": "self"}, href={"type": "string", "format": "uri"})
_VERSION: Final = closed(id={"const": "v2.0"}, status={"const": "CURRENT"}, links=_list(_SELF))
_ONE_EXTENSION: Final = closed(
    name=_TEXT, alias=_TEXT, description=_TEXT, updated={"type": "string", "format": "date-time"}, links=_list(_SELF)
)


def _discovery(id: str, summary: str, answer: Schema, **more: Any) -> Operation:
    return Operation(id=id, tag="about", summary=summary, answer=answer, **more)


_VERSIONS: Final = _discovery("list_versions", "the versions of the API", closed(versions=_list(_VERSION)))
_V2: Final = _discovery(
    "show_version",
    "version 2.0 and its resources",
    closed(resources=_list(closed(name=_TEXT, collection=_TEXT, links=_list(_SELF))), version=_VERSION),
)
_EXTENSIONS: Final = _discovery("list_extensions", "every extension", closed(extensions=_list(_ONE_EXTENSION)))
_EXTENSION: Final = _discovery(
    "show_extension",
    "one extension, by its alias",
    closed(extension=_ONE_EXTENSION),
    path_ids={"id": {"type": "string", "enum": list(EXTENSIONS)}},
    refusals=("HTTPNotFound",),
)
_PROVIDERS: Final = _discovery(
    "list_service_providers",
    "the providers of VPN services",
    closed(service_providers=_list(closed(service_type=_TEXT, name=_TEXT, default={"type": "boolean"}))),
)
_HEALTH: Final = _discovery(
    "health",
    "the health of the service",
    closed(status={"const": "ok"}, version=_TEXT),
    refusals=("ServiceUnavailable",),
)
