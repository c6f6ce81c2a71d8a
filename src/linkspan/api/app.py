"""The API as one ASGI application: hooks, handlers and routes of every resource, put together.

Nothing is configured by reading it from somewhere: store, authentication, hub and numbers come from
`bootstrap.wiring`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from linkspan.api.agent_protocol import HEARTBEAT, AgentProtocol
from linkspan.api.authentication.rate_limits import RateLimited, RateLimits
from linkspan.api.discovery import Discovery
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.dispatcher import Dispatcher
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.route import Route
from linkspan.api.openapi import document
from linkspan.api.resources import vpn
from linkspan.api.resources.collection import HOLD, Collection, Context, Hooks
from linkspan.api.resources.networks import Networks, Ports, Subnets
from linkspan.api.resources.quotas import Quotas
from linkspan.api.resources.routers import RouterCollection, Routers
from linkspan.core.authorization.policy import Policy, policy_of
from linkspan.core.checks import quota
from linkspan.core.checks.cross_resource import Limits
from linkspan.core.checks.weak_algorithms import WeakChoices
from linkspan.core.schema import list_query
from linkspan.core.schema.operations import MAX_BODY, MAX_BULK
from linkspan.core.schema.resources import RESOURCES
from linkspan.core.state import status
from linkspan.store.store import Store


def create_app(
    store: Store,
    auth: Authenticator,
    wake: Notifier,
    *,
    grace: float = status.GRACE,
    hold: float = HOLD,
    heartbeat: float = HEARTBEAT,
    limits: Limits | None = None,
    choices: WeakChoices | None = None,
    quotas: Mapping[str, int] = quota.DEFAULTS,
    rates: RateLimits | None = None,
    policy: Policy | None = None,
    page: int = list_query.PAGE,
    bulk: int = MAX_BULK,
    largest_body: int = MAX_BODY,
    public_url: str = "",
    mounts: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application. `wake` is the hub whose `publish` the store calls after commits.

    `grace`: seconds that a connection may take to come up; `hold`: seconds for which DELETE waits for a node;
    `heartbeat`: seconds between signs of life on a hint stream; `policy`: who may do what, None: the rules as they are
    without a file; `page`: the most objects in one answer, `bulk`: in one request; `quotas`: how many objects a project
    may have that has no quotas of its own, by the API's names; `largest_body`: bytes; `public_url`: the API's root as
    clients reach it, for links; `mounts`: applications that are asked before ours.
    """
    context = Context(store=store, hub=wake, grace=grace, hold=hold, page=page, bulk=bulk, quotas=quotas)
    hooks = vpn.hooks(limits or Limits(), choices or WeakChoices())
    limited = RateLimited(auth, rates or RateLimits())
    identity = [limited.guarded(route) for route in auth.routes()] if isinstance(auth, EmbeddedKeystone) else []
    routes = _routes(store, wake, context, hooks, identity, heartbeat)
    edge = Dispatcher(
        routes,
        limited,
        wake,
        policy or policy_of(),
        one_writer=store.one_writer,
        largest_body=largest_body,
        public_url=public_url,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        wake.attach(asyncio.get_running_loop())
        yield
        wake.close()
        edge.close()

    app = Starlette(routes=list(mounts), lifespan=lifespan)
    # Not a mount: its pattern leaves out paths with a line break, and those would get an answer in another shape.
    app.router.redirect_slashes = False
    app.router.default = edge
    return app


def _routes(
    store: Store, wake: Notifier, context: Context, of_vpn: list[Hooks], identity: list[Route], heartbeat: float
) -> list[Route]:
    hooks = [*of_vpn, Networks(), Subnets(), Ports()]
    collections = [*(Collection(each, context) for each in hooks), RouterCollection(Routers(), context)]
    if {each.resource.name for each in collections} != {resource.name for resource in RESOURCES}:
        raise AssertionError("every resource of the registry needs its hooks")
    routes = [route for collection in collections for route in collection.routes()]
    routes += [*Quotas(store, context.quotas).routes(), *identity, *Discovery(store).routes()]
    return [*routes, *document.routes(routes), *AgentProtocol(store, wake, heartbeat).routes()]
