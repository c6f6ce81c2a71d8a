"""Certificates of a project's own CA are renewed at two thirds of their life, and the end of others is announced."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text

from linkspan.api.resources.certificate_renewal import RenewalTicker
from tests.api.conftest import OpenApi
from tests.api.world import CONNECTIONS, Api, LocalSite

DAY = 86_400.0
CERTIFICATES, ANCHORS, KEY = "/vpn/certificates", "/vpn/trust-anchors", "ipsec_site_connection"


class LaterSite(LocalSite):
    """A site with a CA of its own and a certificate of a year, on a clock that tests set forward."""

    def __init__(self, api: Api, now: list[float]) -> None:
        super().__init__(api)
        self.now = now
        self.anchor = api.create(ANCHORS, "trust_anchor", name="lab", source="generated")
        values = {"name": "gw", "source": "generated", "issuer_id": self.anchor["id"]}
        self.made = api.create(CERTIFICATES, "certificate", subject_alt_names=["gw.example.org"], **values)
        names = {"local_id": "gw.example.org", "peer_id": "peer.example.org"}
        references = {"local_certificate_id": self.made["id"], "trust_anchor_id": self.anchor["id"]}
        self.used = self.connection(auth_mode="certs", psk=..., **names, **references)

    @property
    def certificate(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.api.get(f"{CERTIFICATES}/{self.made['id']}")["certificate"]
        return shown

    def reason(self) -> str:
        shown: str = self.api.get(f"{CONNECTIONS}/{self.used['id']}")[KEY]["status_reason"]
        assert self.api.get(CONNECTIONS)["ipsec_site_connections"][0]["status_reason"] == shown
        return shown


@pytest.fixture
def later(open_api: OpenApi) -> Iterator[LaterSite]:
    now = [time.time()]
    with open_api(store={"clock": lambda: now[0]}) as api:
        yield LaterSite(api, now)


def test_a_certificate_is_renewed_at_two_thirds_of_its_life(later: LaterSite) -> None:
    node, ticker, before = later.api.node(), RenewalTicker(later.api.store), later.certificate
    (old,) = node.desired()["connections"]
    later.now[0] += 243 * DAY
    ticker.tick()
    assert later.certificate == before
    later.now[0] += 1 * DAY
    ticker.tick()
    renewed = later.certificate
    assert renewed["not_after"] > before["not_after"]
    assert renewed["fingerprint"] != before["fingerprint"]
    kept = ("key_identifier", "subject", "subject_alt_names", "csr", "status")
    assert [renewed[name] for name in kept] == [before[name] for name in kept]
    (new,) = node.desired()["connections"]
    assert new["revision"] > old["revision"]
    local = new["certificates"]["local"]
    assert local["chain"] == [renewed["certificate"]]
    assert local["private_key"] == old["certificates"]["local"]["private_key"]
    ticker.tick()
    assert later.certificate == renewed
    (entry,) = later.api.as_("admin").get("/linkspan/audit?action=renew")["audit"]
    assert (entry["user_name"], entry["object_id"]) == ("linkspan", later.made["id"])
    assert {"certificate", "not_after"} <= set(entry["fields"])


def test_a_look_goes_on_where_the_last_one_ended(later: LaterSite) -> None:
    """However many there are, a look is for so many; the last page is not full, and the next look begins anew."""
    for number in range(4):
        values = {"name": f"more {number}", "source": "generated", "issuer_id": later.anchor["id"]}
        later.api.create(CERTIFICATES, "certificate", subject_alt_names=["gw.example.org"], **values)
    ticker = RenewalTicker(later.api.store, most=2)

    def fingerprints() -> set[str]:
        return {shown["fingerprint"] for shown in later.api.get(CERTIFICATES)["certificates"]}

    before = fingerprints()
    later.now[0] += 300 * DAY

    seen = []
    for _ in range(3):
        ticker.tick()
        seen.append(len(fingerprints() - before))
    assert seen == [2, 4, 5]


def test_of_several_processes_one_renews_it(later: LaterSite) -> None:
    later.now[0] += 300 * DAY
    tickers = [RenewalTicker(later.api.store) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda ticker: ticker.tick(), tickers))
    assert later.certificate["revision_number"] == later.made["revision_number"] + 1


def test_what_is_revoked_or_of_another_ca_is_not_renewed(later: LaterSite, database: Engine) -> None:
    revoked = {"certificate": later.certificate["certificate"]}
    assert later.api.send("PUT", f"{ANCHORS}/{later.anchor['id']}/revoke", revoked).status_code == 200
    other = later.api.create(CERTIFICATES, "certificate", name="csr", subject_alt_names=["gw.example.org"])
    before = later.certificate
    later.now[0] += 300 * DAY
    RenewalTicker(later.api.store).tick()
    assert later.certificate == before
    assert later.api.get(f"{CERTIFICATES}/{other['id']}")["certificate"]["certificate"] is None


def test_one_that_ends_with_its_ca_is_not_renewed_again_and_again(later: LaterSite, database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE trust_anchor SET expires_at = (SELECT not_after FROM certificate)"))
    before = later.certificate
    later.now[0] += 300 * DAY
    RenewalTicker(later.api.store).tick()
    assert later.certificate == before


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (31.0, ""),
        (29.0, "in less than 30 days"),
        (13.5, "in less than 14 days"),
        (6.5, "in less than 7 days"),
        (0.5, "in less than 1 day: renew it"),
        (-0.5, "has ended on"),
    ],
)
def test_the_end_of_a_certificate_is_announced(later: LaterSite, days: float, words: str) -> None:
    later.now[0] += (365 - days) * DAY
    assert words in later.reason()
    assert ("certificate gw" in later.reason()) == bool(words)
    assert "trust anchor" not in later.reason()


def test_the_end_of_a_trust_anchor_is_announced(later: LaterSite) -> None:
    later.now[0] += (3650 - 10) * DAY
    assert "trust anchor lab ends on " in later.reason()
    assert "in less than 14 days: renew it" in later.reason()
