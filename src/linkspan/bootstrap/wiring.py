"""The real parts, made as the settings say: database, store, who asks and what they may, and the API over them.

Nothing runs here; `bootstrap.processes` and `bootstrap.run_all` do that. Imports are late: see the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from linkspan.admin import preflight

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from starlette.applications import Starlette

    from linkspan.api.authentication.keystone_client import Keystone
    from linkspan.api.http.authenticator import Authenticator
    from linkspan.api.http.notifications import Notifier
    from linkspan.core.authorization.policy import Policy
    from linkspan.settings import Settings
    from linkspan.store.store import Store


@contextmanager
def open_database(settings: Settings, *, exclusive: bool = False) -> Iterator[Engine]:
    """The database; `exclusive` refuses to share a SQLite file with another process that does the same."""
    from linkspan.store.database import engine as engines

    try:
        engine = engines.connect(settings.database_url)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    lock = engines.lock(engine) if exclusive else None
    try:
        yield engine
    finally:
        engine.dispose()
        if lock:
            lock.release()


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """The store, for a command on this machine; a running API may use the same database."""
    with open_database(settings) as engine:
        yield create_store(engine, settings)


def create_store(engine: Engine, settings: Settings, **more: Any) -> Store:
    """The store on a database whose schema is up to date."""
    from linkspan.store import envelopes
    from linkspan.store.store import Store

    return Store(engine, envelopes.load_keyring(settings.key_file), lease=settings.api.lease, **more)


def upgrade_database(settings: Settings) -> str:
    """Bring the schema up to date; what was done, in words."""
    from linkspan.store.migrate import upgrade

    with open_database(settings, exclusive=True) as engine:
        done = upgrade(engine)
    return "the database is at the newest version now" if done else "the database was at the newest version already"


def check_authentication(settings: Settings) -> None:
    """Refuse to let everybody on the network be admin, or to ask nobody. Raises ClickException."""
    if settings.api.auth == "keystone":
        create_keystone_client(settings)
    if settings.api.auth == "none":
        from linkspan.api.authentication.basic import check_bind

        try:
            check_bind(settings.api.host)
        except ValueError as error:
            raise click.ClickException(str(error)) from None


def load_policy(settings: Settings) -> Policy:
    """Who may do what. Raises ClickException if the policy file cannot be used."""
    from linkspan.admin.policy import load_policy

    return load_policy(settings.api.policy_file)


def create_keystone_client(settings: Settings) -> Keystone:
    """The real Keystone of the settings, which is not asked anything yet. Raises ClickException."""
    from linkspan.api.authentication.keystone_client import Keystone, KeystoneauthMissing

    given = settings.keystone
    password = preflight.check_keystone(given.auth_url, given.username, given.password_file, given.ca_file)
    try:
        return Keystone(
            given.auth_url,
            given.username,
            password,
            given.project,
            user_domain=given.user_domain,
            project_domain=given.project_domain,
            ca_file=given.ca_file,
            timeout=given.timeout,
        )
    except KeystoneauthMissing as error:
        raise click.ClickException(str(error)) from None


def create_authenticator(settings: Settings, store: Store) -> Authenticator:
    """Who finds out who asks."""
    match settings.api.auth:
        case "none":
            from linkspan.api.authentication.basic import NoAuth

            return NoAuth()
        case "keystone":
            from linkspan.api.authentication.keystone import KeystoneAuth

            given = settings.keystone
            return KeystoneAuth(create_keystone_client(settings), given.public_url or given.auth_url, ttl=given.ttl)
        case "http_basic":
            from linkspan.api.embedded_keystone.service import EmbeddedKeystone

            return EmbeddedKeystone(store, region=settings.api.region, lifetime=settings.api.token_lifetime)


def configure_logging(settings: Settings) -> None:
    """Begin to log as the settings say."""
    from linkspan import telemetry

    file = settings.state / "logs" / settings.log.file if settings.log.file else None
    telemetry.configure(file=file, terminal=settings.log.terminal, level=settings.log.level)


@contextmanager
def open_application(settings: Settings) -> Iterator[tuple[Starlette, Notifier]]:
    """The API over its database, whose schema is brought up to date first."""
    import msgspec

    from linkspan.api.app import create_app
    from linkspan.api.authentication.rate_limits import RateLimits
    from linkspan.api.http.notifications import Notifier
    from linkspan.core.checks.cross_resource import Limits
    from linkspan.core.checks.weak_algorithms import WeakChoices
    from linkspan.core.token_bucket import Rate
    from linkspan.store.migrate import upgrade

    with open_database(settings, exclusive=True) as engine:
        upgrade(engine)
        hub = Notifier()
        store = create_store(engine, settings, on_commit=hub.publish)
        limits = settings.limits
        app = create_app(
            store,
            create_authenticator(settings, store),
            hub,
            grace=settings.api.grace,
            policy=load_policy(settings),
            public_url=settings.api.public_url,
            limits=Limits(cidrs=limits.cidrs, connections=limits.connections),
            choices=WeakChoices(settings.api.policy_defaults, settings.api.weak_choices),
            quotas=msgspec.structs.asdict(settings.quota),
            rates=RateLimits(
                project=Rate(limits.project_rate, limits.project_burst),
                failures=Rate(limits.failure_rate, limits.failure_burst),
            ),
            page=limits.page,
            bulk=limits.bulk,
            largest_body=limits.body,
        )
        yield app, hub
