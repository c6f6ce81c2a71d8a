"""Creates the real parts from the settings: database, store, authenticator, policy, and the API over them.

It starts nothing: `bootstrap.processes` and `bootstrap.run_all` do. Imports are inside functions, see `command_line`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from linkspan.admin import file_checks, preflight
from linkspan.core.addresses import is_loopback

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from linkspan.admin.backups import BackupSummary
    from linkspan.admin.key_rotation import Administration
    from linkspan.api.app import Application
    from linkspan.api.authentication.keystone_client import Keystone
    from linkspan.api.console.identity import IdentityService
    from linkspan.api.http.authenticator import Authenticator
    from linkspan.api.http.notifications import Notifier
    from linkspan.core.authorization.policy import Policy
    from linkspan.core.secret import Secret
    from linkspan.settings import Settings
    from linkspan.store.key_file import KeyFile, KeyWrapper
    from linkspan.store.store import Store


@contextmanager
def open_database(settings: Settings, *, exclusive: bool = False) -> Iterator[Engine]:
    """Opens the database. `exclusive` locks a SQLite file against other processes that open it so."""
    from linkspan.store.database import engine as engines

    file_checks.check_state(settings.state)
    try:
        engine = engines.connect(settings.database_url)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    file = engines.database_file(engine)
    if file is not None:
        file_checks.check_database(file)
    lock = engines.lock(engine) if exclusive else None
    try:
        yield engine
    finally:
        engine.dispose()
        if lock:
            lock.release()


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """Opens the store for a command on this machine, also while an API uses the same database."""
    with open_database(settings) as engine:
        yield create_store(engine, settings)


def create_store(engine: Engine, settings: Settings, **options: Any) -> Store:
    """Creates the store over a database whose schema is up to date."""
    from linkspan.store import envelopes
    from linkspan.store.store import Store

    return Store(
        engine,
        envelopes.load_keyring(open_key_file(settings)),
        lease=settings.api.lease,
        keep_revisions=settings.limits.revisions,
        **options,
    )


def open_key_file(settings: Settings) -> KeyFile:
    """Returns the key file, with what encrypts its keys. Raises `KeyFileError`."""
    from linkspan.store.key_file import KeyFile

    return KeyFile(settings.key_file, create_key_wrapper(settings))


def check_key_file(settings: Settings) -> None:
    """Checks that the key file can be used, if this machine has one. Raises ClickException."""
    from linkspan.store.key_file import KeyFileError, KeysUnavailable

    try:
        if settings.key_file.exists():
            open_key_file(settings).read()
    except (KeyFileError, KeysUnavailable) as error:
        raise click.ClickException(str(error)) from None


def create_key_wrapper(settings: Settings) -> KeyWrapper | None:
    """Creates the client of Vault, if the settings name one. Raises `KeyFileError`."""
    vault = settings.vault
    if not vault.url:
        return None
    from linkspan.store.vault import VaultTransit

    file_checks.check_secret(vault.token_file, "Vault token file")
    return VaultTransit(
        vault.url, vault.mount, vault.key, vault.token_file, ca_file=vault.ca_file, timeout=vault.timeout
    )


@contextmanager
def open_keys(settings: Settings) -> Iterator[Administration]:
    """Opens the keys for a command on this machine, also while an API uses them."""
    from linkspan.admin.key_rotation import Administration
    from linkspan.store import envelopes
    from linkspan.store.store import Store

    with open_database(settings) as engine:
        file = open_key_file(settings)
        keyring = envelopes.load_keyring(file)
        yield Administration(Store(engine, keyring, lease=settings.api.lease), file, keyring)


def restore_backup(settings: Settings, file: Path, passphrase: Secret, *, force: bool) -> BackupSummary:
    """Restores a backup into the database, whose file no API process may use, and the state directory."""
    from linkspan.admin import backups

    with open_database(settings, exclusive=True) as engine:
        return backups.restore(
            engine, settings.api.lease, open_key_file(settings), settings.state, file, passphrase, force=force
        )


def upgrade_database(settings: Settings) -> str:
    """Brings the schema up to date; returns a sentence about it."""
    from linkspan.store.migrate import upgrade

    with open_database(settings, exclusive=True) as engine:
        changed = upgrade(engine)
    return "upgraded the database to the newest version" if changed else "the database is already at the newest version"


def check_files(settings: Settings) -> None:
    """Checks the files that the API trusts. Raises ClickException."""
    with open_database(settings):
        pass  # the state directory and the database
    for check in checks_of_files(settings):
        check()


def checks_of_files(settings: Settings) -> list[Callable[[], None]]:
    """Returns a check for each file that the settings name for the API; each raises ClickException."""
    api = settings.api
    return [
        partial(file_checks.check_trusted, api.policy_file, "policy file"),
        partial(file_checks.check_trusted, api.tls_cert, "certificate"),
        partial(file_checks.check_secret, api.tls_key, "TLS key"),
        partial(file_checks.check_secret, settings.keystone.password_file, "password file"),
        partial(file_checks.check_secret, settings.vault.token_file, "Vault token file"),
    ]


def host_names(settings: Settings) -> frozenset[str] | None:
    """Returns the names that clients may send in `Host`; None: any."""
    names = frozenset(name.strip() for name in settings.api.hosts.split(",") if name.strip())
    return names if names or is_loopback(settings.api.host) else None


def check_authentication(settings: Settings) -> None:
    """Checks the settings for authentication; `none` is for loopback addresses only, and plain HTTP by default.

    Raises ClickException.
    """
    if settings.api.auth == "keystone":
        create_keystone_client(settings)
    if settings.api.auth != "none" and settings.api.tls_cert is None and settings.api.plain_http == "refuse":
        preflight.check_plain_http(settings.api.host)
    if settings.api.auth == "none":
        from linkspan.api.authentication.basic import check_bind

        try:
            check_bind(settings.api.host)
        except ValueError as error:
            raise click.ClickException(str(error)) from None


def load_policy(settings: Settings) -> Policy:
    """Loads the policy rules. Raises ClickException if the policy file is invalid."""
    from linkspan.admin.policy import load_policy

    return load_policy(settings.api.policy_file)


def create_keystone_client(settings: Settings) -> Keystone:
    """Creates the client of the external Keystone, without a request to it. Raises ClickException."""
    from linkspan.api.authentication.keystone_client import Keystone, KeystoneauthMissing

    keystone = settings.keystone
    password = preflight.check_keystone(
        keystone.auth_url,
        keystone.username,
        keystone.password_file,
        keystone.ca_file,
        plain_http=keystone.plain_http == "allow",
    )
    try:
        return Keystone(
            keystone.auth_url,
            keystone.username,
            password,
            keystone.project,
            user_domain=keystone.user_domain,
            project_domain=keystone.project_domain,
            ca_file=keystone.ca_file,
            timeout=keystone.timeout,
        )
    except KeystoneauthMissing as error:
        raise click.ClickException(str(error)) from None


def create_authenticator(settings: Settings, store: Store) -> Authenticator:
    """Creates the authenticator that `api.auth` selects."""
    match settings.api.auth:
        case "none":
            from linkspan.api.authentication.basic import NoAuth

            return NoAuth()
        case "keystone":
            from linkspan.api.authentication.keystone import KeystoneAuth

            keystone = settings.keystone
            return KeystoneAuth(
                create_keystone_client(settings), keystone.public_url or keystone.auth_url, ttl=keystone.ttl
            )
        case "http_basic":
            from linkspan.api.embedded_keystone.service import EmbeddedKeystone

            return EmbeddedKeystone(store, region=settings.api.region, lifetime=settings.api.token_lifetime)


def create_login_identity(settings: Settings) -> IdentityService | None:
    """Creates the client with which users of the console log in to an external Keystone; None without one."""
    if settings.api.auth != "keystone":
        return None
    from linkspan.api.console.identity import ForwardedIdentityService

    keystone = settings.keystone
    return ForwardedIdentityService(keystone.auth_url, ca_file=keystone.ca_file, timeout=keystone.timeout)


def configure_logging(settings: Settings) -> None:
    """Configures logging from the settings."""
    from linkspan import telemetry

    file = settings.state / "logs" / settings.log.file if settings.log.file else None
    telemetry.configure(file=file, terminal=settings.log.terminal, level=settings.log.level)


@contextmanager
def open_application(settings: Settings) -> Iterator[tuple[Application, Notifier]]:
    """Brings the database's schema up to date, and yields the API application and its notifier."""
    import msgspec

    from linkspan.api.app import create_app
    from linkspan.api.authentication.rate_limits import RateLimits
    from linkspan.api.http.notifications import Notifier
    from linkspan.api.resources.certificate_renewal import RenewalTicker
    from linkspan.core.checks.cross_resource import Limits
    from linkspan.core.checks.weak_algorithms import WeakChoices
    from linkspan.core.token_bucket import Rate
    from linkspan.store.audit_ticker import AuditTicker
    from linkspan.store.key_ticker import KeyTicker
    from linkspan.store.lease_ticker import LeaseTicker
    from linkspan.store.migrate import upgrade
    from linkspan.store.timeline_ticker import TimelineTicker

    with open_database(settings, exclusive=True) as engine:
        upgrade(engine)
        notifier = Notifier()
        store = create_store(engine, settings, on_commit=notifier.publish)
        limits = settings.limits
        app = create_app(
            store,
            create_authenticator(settings, store),
            notifier,
            grace=settings.api.grace,
            psk_grace=settings.api.psk_grace,
            policy=load_policy(settings),
            public_url=settings.api.public_url,
            limits=Limits(cidrs=limits.cidrs, connections=limits.connections),
            choices=WeakChoices(settings.api.policy_defaults, settings.api.weak_choices),
            quotas=msgspec.structs.asdict(settings.quota),
            rates=RateLimits(
                project=Rate(limits.project_rate, limits.project_burst),
                failures=Rate(limits.failure_rate, limits.failure_burst),
                names=Rate(limits.name_failure_rate, limits.name_failure_burst),
            ),
            page=limits.page,
            bulk=limits.bulk,
            largest_body=limits.body,
            bodies=limits.bodies,
            hosts=host_names(settings),
            identity=create_login_identity(settings),
            node_certificates=settings.api.node_certificates,
        )
        audit = AuditTicker(store, settings.api.audit_retention * 86_400.0)
        kept, days = settings.api.timeline_events, settings.api.timeline_retention
        timeline = TimelineTicker(store, notifier.changed, kept, days * 86_400.0)
        with LeaseTicker(store), audit, timeline, KeyTicker(store), RenewalTicker(store), app.questions:
            yield app, notifier
