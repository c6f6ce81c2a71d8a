"""revision_number and updated_at of an object move with the parts that it gets and loses."""

from __future__ import annotations

from typing import Any

from tests.api.resources.test_if_match import FAILED, at
from tests.api.world import Api, LocalSite


class Watched:
    """An object whose `revision_number` is followed."""

    def __init__(self, api: Api, key: str, id: str) -> None:
        self._api, self._key, self.path = api, key, f"/{key}s/{id}"
        self.now: int = self._shown()["revision_number"]

    def _shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = self._api.get(self.path)[self._key]
        return shown

    def moved(self) -> bool:
        """Returns whether the revision has grown since the last look."""
        shown = self._shown()
        before, self.now = self.now, shown["revision_number"]
        assert self.now >= before
        assert shown["updated_at"] >= shown["created_at"]
        return self.now > before


def test_a_router_moves_with_its_interfaces_and_its_gateway(api: Api) -> None:
    outside, subnet = api.outside(), api.inside()
    router = api.create("/routers", "router", name="router")
    watched = Watched(api, "router", router["id"])
    api.plug(router, subnet)
    assert watched.moved()
    body = {"subnet_id": subnet["id"]}
    assert api.refused("PUT", f"{watched.path}/add_router_interface", body) == (400, "BadRequest")
    assert not watched.moved()
    remove = f"{watched.path}/remove_router_interface"
    # Two clients that work on one router see each other.
    assert api.refused("PUT", remove, body, headers=at(watched.now - 1)) == FAILED
    assert api.send("PUT", remove, body, headers=at(watched.now)).status_code == 200
    assert watched.moved()
    info = {"network_id": outside["id"]}
    for gateway, moves in ((info, True), (info, False), (None, True), (None, False)):
        api.update(watched.path, "router", external_gateway_info=gateway)
        assert watched.moved() == moves
    api.update(watched.path, "router", external_gateway_info=info, name="both")
    assert watched.moved()


def test_a_network_moves_with_its_subnets(api: Api) -> None:
    network = api.create("/networks", "network", name="lan")
    other = Watched(api, "network", api.create("/networks", "network", name="other")["id"])
    watched = Watched(api, "network", network["id"])
    subnets = api.send(
        "POST",
        "/subnets",
        {"subnets": [{"network_id": network["id"], "cidr": cidr} for cidr in ("10.1.0.0/24", "10.2.0.0/24")]},
    ).json()["subnets"]
    assert watched.moved()
    path = f"/subnets/{subnets[0]['id']}"
    api.update(path, "subnet", dns_nameservers=["10.1.0.53"])
    assert watched.moved()
    api.update(path, "subnet", dns_nameservers=["10.1.0.53"])
    assert not watched.moved()
    body = {"subnet": {"network_id": network["id"], "cidr": "10.1.0.0/25"}}
    assert api.refused("POST", "/subnets", body) == (400, "InvalidInput")
    assert not watched.moved()
    api.delete(path)
    assert watched.moved()
    assert not other.moved()


def test_a_node_is_not_told_of_a_revision(site: LocalSite) -> None:
    node = site.api.node()
    revision = node.desired()["revision"]
    site.api.create("/subnets", "subnet", network_id=site.subnet["network_id"], cidr="10.77.0.0/24")
    assert node.desired(since=revision)["gateways"] == []
