"""Users of an OpenStack cloud's own Keystone log in to the console."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from sqlalchemy import Engine

from linkspan.api.authentication.keystone import KeystoneAuth
from linkspan.api.authentication.keystone_client import Keystone as KeystoneClient
from linkspan.api.console.identity import ForwardedIdentityService
from linkspan.core.secret import Secret
from tests.api.serving import served
from tests.console.conftest import OpenConsole
from tests.harness.databases import database, postgres, sqlite_template
from tests.harness.keystone import PASSWORD, Keystone, keystone

__all__ = ["database", "keystone", "postgres", "sqlite_template"]

pytestmark = pytest.mark.timeout(300)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_user_of_keystone_chooses_a_project(database: Engine, keystone: Keystone, open_console: OpenConsole) -> None:
    keystone.add("ana", "acme", "member")
    keystone.add("ana", "beta", "reader")
    keystone.add("linkspan", "service", "service")
    client = KeystoneClient(keystone.url, "linkspan", Secret(PASSWORD), "service")
    identity = ForwardedIdentityService(keystone.url)
    with served(database, lambda _store: KeystoneAuth(client, keystone.url), identity=identity) as running:
        console = open_console(running.url)
        page = console.page
        page.goto(f"{running.url}/console/#/policies")
        page.get_by_label("User name").fill("ana")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("Domain").fill("Elsewhere")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
        page.get_by_label("Domain").fill("")
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("button", name="acme").click()
        expect(page.get_by_role("button", name="New IKE policy")).to_be_visible()
        page.get_by_label("Project", exact=True).select_option(label="beta")
        expect(page.get_by_role("heading", name="Policies")).to_be_visible()
        expect(page.get_by_role("button", name="New IKE policy")).to_have_count(0)
        expect(page.get_by_role("link", name="Users and projects")).to_have_count(0)
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Domain")).to_be_visible()
