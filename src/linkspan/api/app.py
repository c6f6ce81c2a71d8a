"""The API as one ASGI application: the hooks, handlers and routes of all resources, and the application's lifespan.

It reads no configuration: `bootstrap.wiring` passes the store, the authenticator, the notifier and every number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Set

from linkspan.api.agent_protocol import HEARTBEAT, RECHECK, AgentProtocol
from linkspan.api.authentication.failed_logins import AuditedLogins, FailedLogins
from linkspan.api.authentication.rate_limits import RateLimited, RateLimits
from linkspan.api.console.files import ConsoleFiles, browsers_to_console
from linkspan.api.console.identity import IdentityService, RoutedIdentityService, routes_to
from linkspan.api.console.sessions import Sessions
from linkspan.api.discovery import Discovery
from linkspan.api.embedded_keystone.service import EmbeddedKeystone
from linkspan.api.http.authenticator import Authenticator
from linkspan.api.http.dispatcher import Dispatcher
from linkspan.api.http.notifications import Notifier
from linkspan.api.http.route import AsgiScope, Receive, Route, Send
from linkspan.api.node_joining import NodeJoining
from linkspan.api.node_tls import NodeTls
from linkspan.api.openapi import document
from linkspan.api.resources import absent, certificates, crypto_profiles, dry_run, vpn
from linkspan.api.resources.agents import Agents
from linkspan.api.resources.audit import AuditTrail
from linkspan.api.resources.certificate_authority import TrustAnchorCollection
from linkspan.api.resources.collection import DELETE_WAIT, Collection, Context, Hooks
from linkspan.api.resources.comparisons import PeerComparisons
from linkspan.api.resources.diagnosis import Diagnoses
from linkspan.api.resources.networks import Networks, Ports, Subnets
from linkspan.api.resources.node_questions import NodeQuestions, QuestionTicker
from linkspan.api.resources.nodes import Nodes
from linkspan.api.resources.peer_config import PeerConfigs
from linkspan.api.resources.quotas import Quotas
from linkspan.api.resources.rollback import RevisedConnections
from linkspan.api.resources.routers import RouterCollection, Routers
from linkspan.api.resources.tags import TaggedCollection
from linkspan.api.resources.timeline import Timeline
from linkspan.api.resources.traffic import TrafficSamples
from linkspan.core.authorization.policy import Policy, policy_of
from linkspan.core.checks import quota
from linkspan.core.checks.cross_resource import Limits
from linkspan.core.checks.weak_algorithms import WeakChoices
from linkspan.core.node_join import CERTIFICATE_LIFETIME
from linkspan.core.schema import list_query
from linkspan.core.schema.operations import MAX_BODIES, MAX_BODY, MAX_BULK
from linkspan.core.schema.resources import CONNECTION, RESOURCES, TRUST_ANCHOR
from linkspan.core.state import status
from linkspan.core.state.credentials import PSK_GRACE
from linkspan.store.store import Store


class Application:
    """An ASGI application (ASGI 3.0): `dispatcher` answers HTTP, `notifier` and `failed` live as long as the event
    loop. `node_tls`: what a listener for nodes needs, if there is one. `questions`: to be entered where several
    processes share the database."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        notifier: Notifier,
        failed: FailedLogins,
        node_tls: NodeTls,
        questions: QuestionTicker,
    ) -> None:
        self.node_tls = node_tls
        self.questions = questions
        self.dispatcher = dispatcher
        self._notifier = notifier
        self._failed = failed

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serves one HTTP request, or the lifespan of the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self.dispatcher(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._notifier.attach(asyncio.get_running_loop())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._notifier.close()
        self.dispatcher.close()
        await asyncio.get_running_loop().run_in_executor(None, self._failed.close)
        await send({"type": "lifespan.shutdown.complete"})


def create_app(
    store: Store,
    authenticator: Authenticator,
    notifier: Notifier,
    *,
    grace: float = status.GRACE,
    psk_grace: float = PSK_GRACE,
    delete_wait: float = DELETE_WAIT,
    heartbeat: float = HEARTBEAT,
    recheck: float = RECHECK,
    node_certificates: float = CERTIFICATE_LIFETIME,
    limits: Limits | None = None,
    choices: WeakChoices | None = None,
    quotas: Mapping[str, int] = quota.DEFAULTS,
    rates: RateLimits | None = None,
    policy: Policy | None = None,
    page: int = list_query.PAGE,
    bulk: int = MAX_BULK,
    largest_body: int = MAX_BODY,
    bodies: int = MAX_BODIES,
    public_url: str = "",
    hosts: Set[str] | None = None,
    identity: IdentityService | None = None,
) -> Application:
    """The application. The store calls `notifier.publish` after its commits.

    `grace`: seconds that a connection may take to come up; `psk_grace`: for which the key before a changed one is kept;
    `delete_wait`: seconds for which DELETE waits for a node;
    `heartbeat`: seconds between heartbeats on a hint stream, `recheck`: after which it looks again whether its node may
    read; `node_certificates`: lifetime of nodes' certificates, seconds; `policy`: None means the default rules;
    `page`: largest number of objects in one answer, `bulk`: in one request; `quotas`: default quotas by API names;
    `largest_body`: bytes, `bodies`: of all bodies; `public_url`: the API's root as clients reach it, for links;
    `hosts`: names in `Host`, None: any; `identity`: the external Keystone that logs users of the console in, if any.
    """
    choices = choices or WeakChoices()
    policy = policy or policy_of()
    context = Context(
        store=store, notifier=notifier, grace=grace, delete_wait=delete_wait, page=page, bulk=bulk, quotas=quotas
    )
    limited = RateLimited(authenticator, rates or RateLimits())
    failed = FailedLogins(store)
    audited = AuditedLogins(limited, failed)
    keystone = authenticator.routes() if isinstance(authenticator, EmbeddedKeystone) else []
    logins = keystone if identity is None else routes_to(identity)
    keystone, logins = ([audited.guarded(limited.guarded(route)) for route in some] for some in (keystone, logins))
    agents = [
        *AgentProtocol(store, notifier, heartbeat, recheck).routes(),
        *NodeJoining(store, node_certificates).routes(),
    ]
    sessions = Sessions(
        authenticator, RoutedIdentityService(logins) if logins else None, policy, external=identity is not None
    )
    console = [*ConsoleFiles().routes(), *sessions.routes()]
    asking = NodeQuestions(store, notifier)
    routes = [
        *_routes(context, vpn.hooks(limits or Limits(), choices, psk_grace), choices, keystone, asking),
        *Diagnoses(store, asking, grace).routes(),
        *TrafficSamples(store, asking).routes(),
        *PeerComparisons(store).routes(),
        *PeerConfigs(store).routes(),
    ]
    routes = [browsers_to_console(dry_run.guarded(route)) for route in routes]
    routes = [*routes, *document.routes(routes), *(audited.guarded(route) for route in agents), *console]
    dispatcher = Dispatcher(
        routes,
        audited,
        notifier,
        policy,
        one_writer=store.one_writer,
        largest_body=largest_body,
        bodies=bodies,
        public_url=public_url,
        hosts=hosts,
    )
    return Application(dispatcher, notifier, failed, NodeTls(store), asking.ticker)


def _routes(
    context: Context, hooks: list[Hooks], choices: WeakChoices, keystone: list[Route], asking: NodeQuestions
) -> list[Route]:
    store = context.store

    def collection(hook: Hooks) -> Collection:
        if hook.resource is CONNECTION:
            return RevisedConnections(hook, context, asking, {each.resource.name: each for each in hooks})
        return (TrustAnchorCollection if hook.resource is TRUST_ANCHOR else Collection)(hook, context)

    collections = [
        *(collection(hook) for hook in (*hooks, *certificates.hooks())),
        *(TaggedCollection(hook, context) for hook in (Networks(), Subnets(), Ports())),
        RouterCollection(Routers(), context),
    ]
    if {collection.resource.name for collection in collections} != {resource.name for resource in RESOURCES}:
        raise AssertionError("every resource of the registry needs its hooks")
    routes = dry_run.routes(collections, store)
    routes += [*Quotas(store, context.quotas).routes(), *AuditTrail(store, context.page).routes()]
    routes += Timeline(store, context.notifier, context.page).routes()
    routes += [*Agents(store, context.page).routes(), *absent.routes(), *crypto_profiles.routes(context.page)]
    routes += [
        *Nodes(store, context.notifier).routes(),
        *keystone,
        *Discovery(store, choices.weak == "refuse").routes(),
    ]
    return routes
