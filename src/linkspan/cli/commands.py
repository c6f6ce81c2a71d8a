"""`linkspan RESOURCE create|list|show|set|delete`, generated from the registry, and the router-interface commands.

`set`, `delete` and the interface commands print nothing on success. An error is the API's own message.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from linkspan.cli import dry_run as dry_runs
from linkspan.cli import options, render, resolve
from linkspan.cli.client import Client, clouds_file, load_cloud
from linkspan.core.checks import weak_algorithms
from linkspan.core.schema.crypto_profiles import CRYPTO_PROFILE
from linkspan.core.schema.resources import (
    CERTIFICATE,
    CONNECTION,
    IKE_POLICY,
    IPSEC_POLICY,
    RESOURCES,
    ROUTER,
    SUBNET,
    TRUST_ANCHOR,
    Resource,
)
from linkspan.core.secret import SHORTEST
from linkspan.core.state import certificate_status

CommandHandler = Callable[..., None]


def cloud_options() -> list[click.Parameter]:
    """Returns the options that every command needs to reach the API."""
    return [
        click.Option(["--cloud"], metavar="NAME", help="cloud in the clouds file (default: OS_CLOUD, linkspan-demo)"),
        click.Option(
            ["--state"],
            type=click.Path(path_type=Path),
            default=Path(".linkspan"),
            envvar="LINKSPAN_STATE",
            metavar="DIR",
            help="state directory; holds the clouds file unless OS_CLIENT_CONFIG_FILE names one (default .linkspan)",
        ),
    ]


def format_option() -> click.Option:
    """Returns the option of every command that prints data."""
    return click.Option(["-f", "--format", "format_"], type=click.Choice(("table", "json")), default="table")


def create_client(cloud: str | None, state: Path) -> Client:
    """Creates a client for the cloud that --cloud and --state select. Raises CliError."""
    return Client(load_cloud(cloud, clouds_file(state)))


def build(*of_connections: click.Command) -> list[click.Command]:
    """Builds a group of commands for every resource. `of_connections`: more commands of that group."""
    groups = {resource: _group(resource) for resource in (*RESOURCES, CRYPTO_PROFILE)}
    for command in of_connections:
        groups[CONNECTION].add_command(command)
    return list(groups.values())


def _group(resource: Resource) -> click.Group:
    group = click.Group(resolve.command_name(resource), help=f"{resource.label}: {resource.help}.")
    group.short_help = resource.help
    group.add_command(_list(resource))
    group.add_command(_show(resource))
    if resource.writable:
        group.add_command(_create(resource))
        group.add_command(_set(resource))
        group.add_command(_delete(resource))
    if resource is ROUTER:
        group.add_command(_interface("add", "attach a subnet to a router"))
        group.add_command(_interface("remove", "detach a subnet from a router"))
    return group


def _command(name: str, help: str, handler: CommandHandler, parameters: Sequence[click.Parameter]) -> click.Command:
    """Builds a command whose handler gets a client, then the command's own parameters."""

    def run(cloud: str | None, state: Path, **values: Any) -> None:
        handler(create_client(cloud, state), **values)

    return click.Command(
        name, callback=run, help=f"{help[:1].upper()}{help[1:]}.", params=[*parameters, *cloud_options()]
    )


def _secrets(resource: Resource) -> list[click.Parameter]:
    hidden = any(attribute.secret for attribute in resource.attributes)
    return [click.Option(["--show-secrets"], is_flag=True, help="show secrets instead of ***")] if hidden else []


def _noun(resource: Resource) -> str:
    return resource.name.replace("_", " ")


def _noun_with_article(resource: Resource) -> str:
    return f"{'an' if resource.name[0] in 'aeiou' else 'a'} {_noun(resource)}"


def _print(resource: Resource, item: dict[str, Any], format_: str, show_secrets: bool) -> None:
    shown = item if show_secrets else render.hide_secrets(resource, item)
    if format_ == "json":
        render.print_json(shown)
    else:
        render.print_details(shown)


def _warn_of_short_key(body: dict[str, Any]) -> None:
    """Warns of a short pre-shared key in a request."""
    key = body.get("psk")
    if isinstance(key, str) and len(key) < SHORTEST:
        click.echo(f"warning: the pre-shared key is short: {SHORTEST} characters or more are hard to guess", err=True)


def _warn(resource: Resource, before: dict[str, Any] | None, after: dict[str, Any]) -> None:
    """Warns of the weak algorithms that a request has just selected."""
    if resource is not IKE_POLICY and resource is not IPSEC_POLICY:
        return
    weak = [f"{name} {value}" for name, value in weak_algorithms.newly_weak(resource, before, after).items()]
    if weak:
        click.echo(f"warning: weak: {', '.join(weak)}", err=True)


def _warn_of_ends(resource: Resource, items: Iterable[Mapping[str, Any]]) -> None:
    """Warns of certificates and trust anchors that end soon, or have ended."""
    attributes = {CERTIFICATE: ("not_before", "not_after"), TRUST_ANCHOR: ("", "expires_at")}
    if resource not in attributes:
        return
    first, last = attributes[resource]
    for item in items:
        title = f"{_noun(resource)} {item['name'] or item['id']}"
        if item.get(last) and (text := certificate_status.notice(title, item.get(first), item[last], time.time())):
            click.echo(f"warning: {text}", err=True)


def _list(resource: Resource) -> click.Command:
    def handler(client: Client, format_: str, long: bool, filters: tuple[str, ...], show_secrets: bool = False) -> None:
        query = [_filter(item) for item in filters]
        items = list(resolve.list_objects(client, resource, query))
        shown = items if show_secrets else [render.hide_secrets(resource, item) for item in items]
        if format_ == "json":
            render.print_json(shown)
            return
        columns = tuple(a.name for a in resource.attributes) if long else resource.table_columns
        render.print_table(columns, ([item.get(column) for column in columns] for item in shown))
        _warn_of_ends(resource, items)

    parameters: list[click.Parameter] = [
        click.Option(
            ["--filter", "filters"],
            multiple=True,
            metavar="ATTRIBUTE=VALUE",
            help="only objects with this value; repeat for more conditions",
        ),
        click.Option(["--long"], is_flag=True, help="all attributes, with ids"),
        *_secrets(resource),
        format_option(),
    ]
    return _command("list", f"list every {_noun(resource)}", handler, parameters)


def _filter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"'{text}' is not of the form ATTRIBUTE=VALUE", param_hint="'--filter'")
    return name, value


def _show(resource: Resource) -> click.Command:
    def handler(client: Client, wanted: str, format_: str, show_secrets: bool = False) -> None:
        _print(resource, resolve.find_object(client, resource, wanted), format_, show_secrets)

    parameters = [_name_or_id(), *_secrets(resource), format_option()]
    return _command("show", f"show one {_noun(resource)}", handler, parameters)


def _create(resource: Resource) -> click.Command:
    def handler(client: Client, format_: str, dry_run: bool, show_secrets: bool = False, **values: Any) -> None:
        body = {resource.singular: options.request_body(client, resource, values)}
        if dry_run:
            foretold = dry_runs.request(client, "POST", resolve.collection_path(resource), body)
            dry_runs.print_answers([foretold], format_)
            return
        response = client.request("POST", resolve.collection_path(resource), body)
        _warn_of_short_key(body[resource.singular])
        _warn(resource, None, response[resource.singular])
        _print(resource, response[resource.singular], format_, show_secrets)

    parameters = [*options.options(resource, create=True), *_secrets(resource), dry_runs.option(), format_option()]
    return _command(
        "create",
        f"create {_noun_with_article(resource)}",
        handler,
        parameters,
    )


def _set(resource: Resource) -> click.Command:
    def handler(client: Client, wanted: str, dry_run: bool, format_: str, **values: Any) -> None:
        item = resolve.find_object(client, resource, wanted)
        body = options.request_body(client, resource, {"type": item.get("type"), **values})
        if not body:
            raise click.UsageError("nothing to change: give at least one option")
        path = resolve.member_path(resource, item["id"])
        if dry_run:
            dry_runs.print_answers([dry_runs.request(client, "PUT", path, {resource.singular: body})], format_)
            return
        answer = client.request("PUT", path, {resource.singular: body})
        _warn_of_short_key(body)
        _warn(resource, item, answer[resource.singular])

    parameters = [_name_or_id(), *options.options(resource, create=False), *_dry_run()]
    return _command("set", f"change {_noun_with_article(resource)}", handler, parameters)


def _delete(resource: Resource) -> click.Command:
    def handler(client: Client, wanted: tuple[str, ...], dry_run: bool, format_: str) -> None:
        # All names are looked up first, so that a misspelt one deletes nothing.
        ids = [resolve.find_object(client, resource, name)["id"] for name in wanted]
        paths = [resolve.member_path(resource, id) for id in ids]
        if dry_run:
            dry_runs.print_answers([dry_runs.request(client, "DELETE", path) for path in paths], format_)
            return
        for path in paths:
            client.request("DELETE", path)

    parameters = [click.Argument(["wanted"], nargs=-1, required=True, metavar="NAME|ID..."), *_dry_run()]
    return _command("delete", f"delete one {_noun(resource)} or several", handler, parameters)


def _interface(verb: str, help: str) -> click.Command:
    def handler(client: Client, router: str, subnet: str, dry_run: bool, format_: str) -> None:
        path = (
            f"{resolve.member_path(ROUTER, resolve.find_object(client, ROUTER, router)['id'])}/{verb}_router_interface"
        )
        body = {"subnet_id": resolve.find_id(client, SUBNET, subnet)}
        if dry_run:
            dry_runs.print_answers([dry_runs.request(client, "PUT", path, body)], format_)
            return
        client.request("PUT", path, body)

    parameters = [click.Argument(["router"]), click.Argument(["subnet"]), *_dry_run()]
    return _command(f"{verb}-interface", help, handler, parameters)


def _dry_run() -> list[click.Parameter]:
    """Returns the options of a command that prints only what a dry run foretells."""
    return [dry_runs.option(), format_option()]


def _name_or_id() -> click.Argument:
    return click.Argument(["wanted"], metavar="NAME|ID")
