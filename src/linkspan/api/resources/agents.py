"""`/v2.0/agents`: the gateway nodes in the shape of Neutron's agents, for admins. They are only read here:
`linkspan node` and `/v2.0/linkspan/nodes` manage them."""

from __future__ import annotations

from typing import Any, Final

from linkspan.api.http.messages import Request, Response, ok
from linkspan.api.http.operation import Operation, Schema, closed, described, ref
from linkspan.api.http.route import Route
from linkspan.api.openapi.crud import list_of
from linkspan.api.resources.collection import only
from linkspan.core import printable
from linkspan.core.authorization import policy
from linkspan.core.errors import ApiError
from linkspan.core.schema import list_query
from linkspan.core.schema.agents import AGENT, agent_of
from linkspan.core.schema.attribute_types import Boolean, nullable
from linkspan.store.nodes import registry
from linkspan.store.store import Store
from linkspan.store.transaction import Transaction

PATH: Final = "/v2.0/agents"
RULE: Final = "get_agent"


class Agents:
    """Handlers of agents. `page`: largest number of them in one answer."""

    def __init__(self, store: Store, page: int = list_query.PAGE) -> None:
        self._store = store
        self._page = page

    def routes(self) -> list[Route]:
        """All paths."""
        return [
            Route("GET", PATH, self.list, operation=_LIST),
            Route("GET", f"{PATH}/{{id}}", self.show, operation=_SHOW),
        ]

    def list(self, request: Request) -> Response:
        """The agents that the query string asks for."""
        policy.require_rule(request.caller, RULE, {})
        query = list_query.parse(AGENT, request.parameters(), self._page)
        with self._store.read() as tx:
            agents = [_agent(tx, node) for node in registry.all_nodes(tx)]
        return ok({AGENT.plural: [only(query.fields, agent) for agent in list_query.page(query, agents)]})

    def show(self, request: Request) -> Response:
        """One agent."""
        policy.require_rule(request.caller, RULE, {})
        with self._store.read() as tx:
            node = registry.node_by_id(tx, request.id.lower())
            if node is None:
                raise ApiError(AGENT.not_found, f"Agent {printable.harmless(request.id)} could not be found.")
            return ok({AGENT.singular: _agent(tx, node)})


def _agent(tx: Transaction, node: registry.NodeWithGateways) -> dict[str, Any]:
    return agent_of({**node}, tx.now, tx.lease, tx.wall)


# --- OpenAPI ------------------------------------------------------------------------------------------------------

_AGENT: Final[dict[str, Schema]] = {
    attribute.name: described(nullable(shown) if attribute.nullable else shown, attribute.help)
    for attribute in AGENT.attributes
    for shown in [attribute.kind.shown()]
} | {
    "configurations": described(
        closed(
            routers={"type": "integer"},
            **{name: {"type": "string"} for name in ("backend", "agent_version", "charon_version")},
        ),
        "the node's gateways, its implementation of ESP and its versions",
    ),
    "resource_versions": {"const": {}},
}
_TEXT: Final = {"type": "string", "pattern": r"^[^\x00]*$"}
_FILTERS: Final = tuple(
    list_of(
        attribute.name,
        Boolean().schema() if isinstance(attribute.kind, Boolean) else _TEXT,
        f"filter: {attribute.help}",
    )
    for attribute in AGENT.attributes
)
_FIELDS: Final[Schema] = {"type": "object", "properties": _AGENT, "additionalProperties": False}
_LIST: Final = Operation(
    id="list_agents",
    tag="nodes",
    summary="the gateway nodes, in the shape of Neutron's agents",
    description="They are managed at /v2.0/linkspan/nodes.",
    parameters=(*(ref(name, "parameters") for name in ("fields", "limit", "marker", "page_reverse")), *_FILTERS),
    answer=closed(agents={"type": "array", "items": _FIELDS}),
    refusals=("PolicyNotAuthorized", "BadRequest", "HTTPBadRequest", "InvalidInput"),
)
_SHOW: Final = Operation(
    id="show_agent",
    tag="nodes",
    summary="one gateway node, in the shape of Neutron's agents",
    answer=closed(agent=closed(**_AGENT)),
    refusals=("PolicyNotAuthorized", AGENT.not_found),
)
