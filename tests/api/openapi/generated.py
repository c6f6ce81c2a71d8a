"""Requests that schemathesis generates from the OpenAPI document, sent as one role.

The API has objects of the role's own project and of a foreign project, all of whose texts contain a mark. Each response
is validated against the document and searched for marks. Ids in a request are replaced by ids of existing objects, so
that requests get past the first look-up; a state machine also follows the document's links. Faults are collected.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition, Unsatisfiable
from schemathesis import APIOperation, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from linkspan.core.schema import examples
from linkspan.core.schema.resources import RESOURCES, Resource
from tests.api.openapi import conformance
from tests.api.world import BLUE, USERS, Api, LocalSite, Node

AnyCase = schemathesis.Case[Any]
Operation = APIOperation[Any, Any, Any, Any]

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
"""Checks of schemathesis. `GoodDataRefused` replaces `positive_data_acceptance`: schemas do not express every rule."""

MARK = "foreign-mark"
"""Part of every text of the foreign project."""
KEYS = ("own-key", f"{MARK}-key")
"""Parts of the pre-shared keys."""

NAMES = {
    "router_id": "router",
    "subnet_id": "subnet",
    "network_id": "network",
    "port_id": "port",
    "device_id": "router",
    "vpnservice_id": "service",
    "ikepolicy_id": "ike_policy",
    "ipsecpolicy_id": "ipsec_policy",
    "local_ep_group_id": "endpoint_group",
    "peer_ep_group_id": "endpoint_group",
    "local_certificate_id": "certificate",
    "trust_anchor_id": "trust_anchor",
    "issuer_id": "trust_anchor",
}
"""Attributes that refer to an object -> the object's resource."""

RULES = (
    # Values that conflict with each other or with existing objects.
    "overlaps ",
    "Duplicate items ",
    "do not match",
    "does not match ",
    "cannot be used with ",
    "needs IKEv2",
    "admin privileges",
    "while auth_mode is certs",
    "is a key id, which no certificate has",
    "is not in the certificate",
    "has not been issued yet",
    "there is no ppk that could be required",
    "it is required with ppk",
    "Reason: it is required.",
    "the key is made here",
    "the request comes first",
    "the project's own CA issues it",
    "the CA is made here",
    "only a generated C",
    "only a generated certificate",
    "it is required of a",
    "it is required, unless source",
    "has no CA of its own",
    "is of another project",
    "an imported certificate has its own",
    "a certificate needs a subject",
    "needs its certificate in the same request",
    "cannot be removed",
    "strict admits nobody",
    "is in the list twice",
    "Bad router request",
    "does not belong to any subnet",
    "number of sort_keys",
    # Texts with a grammar that no pattern expresses; their schemas have a format.
    "not a valid IP",
    "a recognized IP subnet cidr",
    "cannot be the range of a subnet",
    "Gateway is not valid",
    "an identity ",
    "a key id cannot ",
    "distinguished name",
    "the name of a key is",
    "neither a DNS name nor a mail address",
    "Invalid input for subject. ",
    "Invalid input for configuration",
    "it is no PEM",
    "PEM has ",
    " is needed",
    "cannot be read",
    "unspecified address",
    "'keyid:' needs",
    "not printable",
    "cannot be the name of a file",
    "bytes in UTF-8: the name of a node",
    # Ranges of numbers that are sent as text, and limits that are settings.
    "is too small",
    "is too large",
    "is not an integer from ",
    "should be a positive number",
    "at most ",
)
"""Parts of error messages with a general error type that refuse a request although it fits its schema. Errors with a
specific type need no entry."""


def cidrs() -> st.SearchStrategy[str]:
    """Address ranges that seldom overlap."""
    private = st.builds("10.{}.{}.0/24".format, st.integers(2, 250), st.integers(0, 250))
    return private | st.builds("fd00:{:x}::/64".format, st.integers(1, 60_000)) | st.just("198.51.100.0/24")


def hosts() -> st.SearchStrategy[str]:
    """Peer addresses."""
    address = st.ip_addresses(v=4, network="203.0.113.0/24").map(str)
    return address | st.sampled_from(["vpn.example.org", "2001:db8::9", "a.example.org"])


FORMATS = {
    "cidr": cidrs(),
    "ip": st.builds("10.{}.{}.{}".format, *[st.integers(0, 250)] * 3),
    "host": hosts(),
    "pem": st.sampled_from(["no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]),
    "distinguished-name": st.sampled_from(["CN=gw", "C=CH, O=Lab, CN=gw.example.org", "no name"]),
    "peer-configuration": st.sampled_from(["no configuration", examples.COMPARE["compare"]["configuration"]]),
    "uri": st.sampled_from(["http://crl.example.org/x", "http://crl.example.org:8080/y"]),
    "ike-identity": hosts() | st.sampled_from(["me@example.org", "keyid:one", "key id", "@gw.example.org"]),
}
for _name, _strategy in FORMATS.items():
    schemathesis.openapi.format(_name, _strategy)


class ForeignData(Failure):
    """A response contains another project's data."""


class KeyShown(Failure):
    """A response to a reader contains a pre-shared key."""


class GoodDataRefused(Failure):
    """A request that fits its schema was refused by a rule that is not in `RULES`."""


class AttributesMissing(Failure):
    """A response lacks attributes of an object although the request did not restrict the fields."""


class TwoProjects:
    """An API with objects of the role's own project and of a foreign project."""

    def __init__(self, api: Api, role: str) -> None:
        self.api = api
        self.role = role
        self._sites = 0
        self._build()
        self.foreign = _populate(api.as_("bob"), MARK, 101, f"{MARK}-key")
        self.node: Node = api.node()
        self.node.apply_desired()
        self.ids: dict[str, list[str]] = {}
        self.revisions: dict[str, int] = {}
        self.foreign_ids = {
            shown["id"] for objects in self._objects("bob").values() for shown in objects if MARK in json.dumps(shown)
        }
        assert len(self.foreign_ids) >= len(RESOURCES)
        self.refresh()

    def good(self, resource: str, pick: int) -> dict[str, Any]:
        """Consistent references for a new object; every fourth connection also gets consistent values."""
        own = self.own
        return {
            "service": {"router_id": own.router["id"], "subnet_id": own.subnet["id"], "flavor_id": None},
            "subnet": {"network_id": own.subnet["network_id"]},
            "connection": {
                "vpnservice_id": own.service["id"],
                "ikepolicy_id": own.ike["id"],
                "ipsecpolicy_id": own.ipsec["id"],
                "local_ep_group_id": None,
                "peer_ep_group_id": None,
                "auth_mode": "psk",
                "local_certificate_id": None,
                "trust_anchor_id": None,
                "peer_certificates": [],
                "ppk_id": "",
                "ppk": None,
                "ppk_required": False,
            }
            | ({} if pick % 4 else {"peer_cidrs": [f"10.{20 + pick % 200}.7.0/24"], "mtu": 1400, "psk": f"key {pick}"}),
            "certificate": {
                "source": "csr",
                "key_algorithm": "ecdsa-p256",
                "subject": f"CN=gw{pick}",
                "subject_alt_names": [],
                "issuer_id": None,
                "certificate": None,
                "private_key": None,
            },
            "trust_anchor": {
                "source": "generated",
                "subject": f"CN=CA {pick}",
                "ca_bundle": None,
                "revocation": "if_available",
                "crl_urls": [],
                "crl": None,
            },
        }.get(resource, {})

    def refresh(self) -> None:
        """Lists the objects that exist now, after the node has applied the desired state."""
        if self.role == "admin":
            # It can revoke and delete nodes.
            self.api.restore(self.node)
        self.node.apply_desired()
        if self.role == "admin" and not all(self._objects("alice").values()):
            # An admin can delete everything, and a long run does. Other roles cannot, and would see the rebuilt site.
            self._build()
        own_objects, foreign_objects = self._objects("alice"), self._objects("bob")
        for resource in RESOURCES:
            own = [shown["id"] for shown in own_objects[resource.name]]
            self.revisions |= {shown["id"]: shown["revision_number"] for shown in own_objects[resource.name]}
            self.ids[resource.name] = [*own, *own, *(shown["id"] for shown in foreign_objects[resource.name])]

    def _build(self) -> None:
        self._sites += 1
        self.own = _populate(self.api.as_("alice"), "own", self._sites, "own-key")

    def foreign_objects(self) -> Any:
        """The foreign project's objects as its member sees them, without the status that a node reports."""
        return {
            name: [{k: v for k, v in shown.items() if not k.startswith("status")} for shown in objects]
            for name, objects in self._objects("bob").items()
        }

    def _objects(self, user: str) -> dict[str, list[dict[str, Any]]]:
        api = self.api.as_(user)
        return {resource.name: api.get(f"/{resource.path}?limit=0")[resource.plural] for resource in RESOURCES}


def _populate(api: Api, mark: str, number: int, key: str) -> LocalSite:
    site = LocalSite(api, f"198.51.{number}.0/24", inside=f"10.{number}.0.0/24")
    words = {"name": f"{mark}-name", "description": f"{mark}-description"}
    site.connection(**words, psk=key, peer_cidrs=[f"10.{number + 1}.0.0/24"], peer_id=f"{mark}.example.org")
    groups = api.service(site.router, name=f"{mark}-groups")
    local = api.group("subnet", site.subnet["id"], **words)
    peer = api.group("cidr", f"10.{number + 2}.0.0/24", **words)
    more = {"local_ep_group_id": local["id"], "peer_ep_group_id": peer["id"], "peer_cidrs": [], "psk": f"{key}-2"}
    site.connection(**words, vpnservice_id=groups["id"], peer_id=f"{mark}-2.example.org", **more)
    for path, envelope in (
        ("/vpn/ikepolicies/", {"ikepolicy": site.ike}),
        ("/vpn/ipsecpolicies/", {"ipsecpolicy": site.ipsec}),
        ("/vpn/vpnservices/", {"vpnservice": site.service}),
        ("/routers/", {"router": site.router}),
        ("/subnets/", {"subnet": site.subnet}),
        ("/networks/", {"network": {"id": site.subnet["network_id"]}}),
    ):
        [(singular, shown)] = envelope.items()
        api.update(f"{path}{shown['id']}", singular, **words)
    # Nothing references these, so they can be deleted.
    api.create("/vpn/certificates", "certificate", **words, subject="CN=gw")
    api.create("/vpn/trust-anchors", "trust_anchor", **words, source="generated")
    api.ike(**words)
    api.ipsec(**words)
    api.group("cidr", "10.250.0.0/24", **words)
    api.create("/networks", "network", **words)
    api.create("/routers", "router", **words)
    return site


class Run:
    """Generated requests of one role.

    `only`: a pattern of operation ids; `faults`: a text for each operation and kind of fault.
    """

    def __init__(self, projects: TwoProjects, number: int, only: str = "") -> None:
        self.projects = projects
        self.role = projects.role
        self.seed = number
        self.only = only
        self.cases = 0
        self.outcomes: Counter[tuple[str, int]] = Counter()
        self.faults: dict[tuple[str, str], str] = {}
        config = schemathesis.Config.from_dict({"generation": {"with-security-parameters": False}})
        # A copy, because schemathesis adds the links that it infers to its argument.
        self._raw = conformance.of(projects.api.client)
        schema = schemathesis.openapi.from_dict(copy.deepcopy(self._raw), config=config)
        self.schema = schema.include(operation_id_regex=only) if only else schema

    def run(self, cases: int) -> None:
        """Sends at least `cases` requests, most to single operations, some along links; about `cases` with `only`."""
        operations: list[Operation] = [
            result.ok() for result in self.schema.get_all_operations() if isinstance(result, Ok)
        ]
        shares = {operation.label: _share(operation) for operation in operations}
        unit = (1.0 if self.only else 0.8) * cases / sum(2 * share for share in shares.values())
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                self._operation(operation, mode, max(1, round(unit * shares[operation.label])))
            if operation.method.upper() != "GET":
                self.projects.refresh()
        rounds = 0
        while self.cases < cases and not self.only:
            rounds += 1
            before = self.cases
            self._scenarios(cases - self.cases, self.seed + rounds)
            assert self.cases > before, "a round that sends nothing"

    def _settings(self, examples: int, steps: int = 1) -> settings:
        # No shrinking: earlier requests changed the objects, so the same request may get another response.
        return settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )

    def _operation(self, operation: Operation, mode: GenerationMode, examples: int) -> None:
        @seed(self.seed)
        @self._settings(examples)
        @given(case=operation.as_strategy(generation_mode=mode), pick=st.integers(0, 10_000))
        def requests(case: AnyCase, pick: int) -> None:
            if mode is GenerationMode.POSITIVE:
                self._fill(case, pick)
            self._judge(case, self._send(case))

        try:
            requests()
        except Unsatisfiable:
            # The operation has no parameter and no body, so no request to it is invalid.
            assert mode is GenerationMode.NEGATIVE, operation.label
            assert not operation.get_parameter("id", "path"), operation.label

    def _scenarios(self, cases: int, number: int) -> None:
        run, steps = self, 8

        class Links(self.schema.as_state_machine()):  # type: ignore[misc] # made at run time
            def call(self, case: AnyCase, **kwargs: Any) -> Response:
                return Response.from_any(run._send(case))

            def validate_response(self, response: Response, case: AnyCase, *more: Any, **kwargs: Any) -> None:
                run._judge(case, response)

            def teardown(self) -> None:
                run.projects.refresh()

        # Hypothesis replays earlier draws. The response may differ by now and lead to other links, which it reports as
        # a flaky strategy. All responses so far have been checked; the next round has another seed.
        with suppress(FlakyStrategyDefinition):
            seed(number)(Links).run(settings=self._settings(max(1, cases // steps), steps))

    # --- requests -----------------------------------------------------------------------------------------------

    def _fill(self, case: AnyCase, pick: int) -> None:
        """Replaces ids with ids of existing objects, in four of five cases."""
        if pick % 5 == 4:
            return
        named = case.path_parameters or {}
        if "id" in named and (resource := _resource_of(case.operation.path)):
            named["id"] = self._id(resource, pick)
            if "If-Match" in (case.headers or {}):
                self._match(case, pick)
        if "project_id" in named:
            # Generated quotas of the own project would soon forbid to create anything.
            named["project_id"] = BLUE if case.method == "GET" else f"{pick % 3}" * 32
        body = case.body
        if isinstance(body, dict):
            for values in (body, *(member for member in body.values() if isinstance(member, dict))):
                self._fill_values(values, pick)
            for created in RESOURCES if case.method == "POST" else ():
                for place, values in enumerate(_members(body, created)):
                    self._fill_values(values, pick + place)
                    if pick % 2 == 0:
                        values.update(self.projects.good(created.name, pick + place))

    def _match(self, case: AnyCase, pick: int) -> None:
        """Drops `If-Match` from two thirds of the requests and sets it to the known revision in some others."""
        if pick % 3:
            del case.headers["If-Match"]
        elif pick % 2:
            revision = self.projects.revisions.get(case.path_parameters["id"], 0)
            case.headers["If-Match"] = f"revision_number={revision}"

    def _fill_values(self, values: dict[str, Any], pick: int) -> None:
        for place, (name, value) in enumerate(values.items()):
            if name in NAMES and isinstance(value, str):
                values[name] = self._id(NAMES[name], pick + place)
            elif name == "endpoints" and values.get("type") == "subnet":
                # Endpoints of the other types are free text without ids.
                values[name] = [self._id("subnet", pick)]
            elif name == "external_gateway_info" and isinstance(value, dict):
                self._fill_values(value, pick)

    def _id(self, resource: str, pick: int) -> str:
        ids = self.projects.ids[resource]
        return ids[pick % len(ids)]

    def _send(self, case: AnyCase) -> httpx.Response:
        self.cases += 1
        sent = case.as_transport_kwargs(base_url="http://testserver", headers={"authorization": self.role})
        content = json.dumps(sent["json"]).encode() if "json" in sent else sent.get("data")
        response: httpx.Response = self.projects.api.client.request(
            sent["method"], sent["url"], params=sent["params"], content=content, headers=dict(sent["headers"])
        )
        self.outcomes[_name_of(case), response.status_code] += 1
        return response

    def _judge(self, case: AnyCase, response: httpx.Response | Response) -> None:
        try:
            # 412 and 413 refuse a request before its body is validated, but schemathesis counts them as acceptance.
            must_be_refused = _is_bad(case) and response.status_code not in (412, 413)
            checks = [check for check in CHECKS if check is not negative_data_rejection or must_be_refused]
            case.validate_response(response, checks=checks, additional_checks=[self._check_visibility])
        except FailureGroup as group:
            for failure in group.exceptions:
                place = (_name_of(case), type(failure).__name__)
                self.faults.setdefault(place, f"{failure}\n{case.as_curl_command()}\n{_excerpt(response)}")

    def _check_visibility(self, ctx: Any, response: Response, case: AnyCase) -> None:
        text = response.text
        sent = str(response.request.url) + str(response.request.body)
        if self.role != "admin":
            seen = [mark for mark in (MARK, *self.projects.foreign_ids) if mark in text and mark not in sent]
            _fault(case, ForeignData, not seen, f"foreign data: {seen}")
        keys = [key for key in KEYS if key in text and key not in sent]
        _fault(case, KeyShown, not keys or self.role != "reader", f"a pre-shared key: {keys}")
        if response.status_code == 400 and case.meta and case.meta.generation.mode.is_positive:
            fault = json.loads(text)["NeutronError"]
            own_type = fault["type"] not in ("HTTPBadRequest", "InvalidInput", "BadRequest", "MalformedRequestBody")
            _fault(
                case,
                GoodDataRefused,
                own_type or any(words in fault["message"] for words in RULES),
                f"good data refused: {fault}",
            )
        if 200 <= response.status_code < 300 and case.method == "GET" and "fields" not in (case.query or {}):
            self._check_complete(case, json.loads(text))

    def _check_complete(self, case: AnyCase, response: Any) -> None:
        """Without `fields` every attribute has to be present, which the schema of a response does not require."""
        for resource in RESOURCES:
            objects = response.get(
                resource.plural, [response[resource.singular]] if resource.singular in response else []
            )
            required = self._raw["components"]["schemas"]
            for shown in objects if isinstance(objects, list) else []:
                name = "".join(part.capitalize() for part in resource.name.split("_"))
                missing = set(required[name]["required"]) - set(shown)
                _fault(case, AttributesMissing, not missing, f"{resource.name} without {sorted(missing)}")


def _members(body: dict[str, Any], resource: Resource) -> list[dict[str, Any]]:
    """The values of the new objects of a resource in a body."""
    many = body.get(resource.plural)
    members = [body.get(resource.singular)]
    if isinstance(many, list):
        members = [_without_envelope(item, resource) for item in many]
    return [member for member in members if isinstance(member, dict)]


def _without_envelope(item: Any, resource: Resource) -> Any:
    inner = item.get(resource.singular) if isinstance(item, dict) else None
    return inner if isinstance(inner, dict) else item


def _fault(case: AnyCase, kind: type[Failure], good: bool, message: str) -> None:
    if not good:
        raise kind(operation=case.operation.label, title=kind.__name__, message=message)


def _is_bad(case: AnyCase) -> bool:
    """True if a request does not fit its schema. A value that is made invalid for one branch may fit another branch."""
    if case.meta is None or case.meta.generation.mode.is_positive:
        return False
    broken = [place for place, component in case.meta.components.items() if component.mode.is_negative]
    if broken == [ParameterLocation.QUERY] and any(map(_is_number, _values(case.query))):
        return False  # as text it is the number that the schema asks for
    if broken != [ParameterLocation.BODY] or isinstance(case.body, bytes):
        return True
    place = ("paths", case.operation.path, case.method.lower(), "requestBody", "content", "application/json", "schema")
    return not conformance.validator(*place).is_valid(case.body)


def _values(query: Any) -> list[Any]:
    """The values of all parameters of a query string."""
    return [value for values in (query or {}).values() for value in (values if isinstance(values, list) else [values])]


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip("-").isdecimal()


def _excerpt(response: httpx.Response | Response) -> str:
    return f"{response.status_code} {response.text[:600]}"


def _name_of(case: AnyCase) -> str:
    return str(case.operation.definition.raw["operationId"])


def _share(operation: Operation) -> float:
    """Relative number of cases of an operation."""
    name = operation.definition.raw["operationId"]
    if name.endswith("_by_short_path"):
        return 0.1  # the same handlers
    if operation.method.upper() in ("POST", "PUT"):
        return 3.0
    return 1.5 if name.startswith(("list_", "delete_")) else 0.7


def _resource_of(path: str) -> str:
    names = [resource.name for resource in RESOURCES if f"/{resource.path.rpartition('/')[2]}/" in path]
    return names[0] if names else ""


Opened = Callable[..., Any]


@contextmanager
def open_two_projects(open_api: Opened, role: str) -> Iterator[TwoProjects]:
    """A new API with both projects' objects; its DELETE does not wait for the node."""
    assert role in USERS
    with open_api(delete_wait=0.0) as api:
        yield TwoProjects(api, role)
