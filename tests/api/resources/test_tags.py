"""Tags of networks, subnets, routers and ports: they are stored, replaced, added, deleted, and found by."""

from __future__ import annotations

from typing import Any

import httpx

from linkspan.core.authorization.policy import policy_of
from linkspan.core.schema.resources import INVENTORY, RESOURCES
from tests.api.conftest import OpenApi
from tests.api.resources.test_if_match import FAILED, at
from tests.api.world import Api, LocalSite

INPUT = (400, "InvalidInput")
BAD = (400, "BadRequest")
NOWHERE = "3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000"


def paths_of(site: LocalSite) -> list[str]:
    """Returns the path of one object of each resource that has tags."""
    (port, *_) = site.api.get(f"/ports?device_id={site.router['id']}&device_owner=network:router_interface")["ports"]
    return [
        f"/networks/{site.subnet['network_id']}",
        f"/subnets/{site.subnet['id']}",
        f"/routers/{site.router['id']}",
        f"/ports/{port['id']}",
    ]


def shown(api: Api, path: str) -> dict[str, Any]:
    """Returns the object at a path."""
    (value,) = api.get(path).values()
    return value  # type: ignore[no-any-return]


def done(response: httpx.Response) -> tuple[int, Any]:
    """Returns the code and the body of a response."""
    return response.status_code, response.json() if response.content else None


def test_tags_of_every_resource(site: LocalSite) -> None:
    api = site.api
    for path in paths_of(site):
        tags = f"{path}/tags"
        before = shown(api, path)
        assert before["tags"] == api.get(tags)["tags"] == []
        assert done(api.send("PUT", tags, {"tags": ["north", "branch"]})) == (200, {"tags": ["north", "branch"]})
        assert done(api.send("POST", tags, {"tags": ["blue", "north"]})) == (201, {"tags": ["blue", "north"]})
        assert done(api.send("PUT", f"{tags}/v1.2 é")) == (201, None)
        assert shown(api, path)["tags"] == api.get(tags)["tags"] == ["north", "branch", "blue", "v1.2 é"]
        assert done(api.send("GET", f"{tags}/blue")) == (204, None)
        assert done(api.send("DELETE", f"{tags}/blue")) == (204, None)
        for method in ("GET", "DELETE"):
            assert api.refused(method, f"{tags}/blue") == (404, "TagNotFound")
        after = shown(api, path)
        assert (after["tags"], after["revision_number"]) == (
            ["north", "branch", "v1.2 é"],
            before["revision_number"] + 4,
        )
        # What is so already is no change.
        for method, more, body in (
            ("PUT", "", {"tags": after["tags"]}),
            ("PUT", "/north", None),
            ("POST", "", {"tags": []}),
        ):
            assert api.send(method, f"{tags}{more}", body).status_code in (200, 201)
        assert shown(api, path) == after
        assert done(api.send("DELETE", tags)) == (204, None)
        assert shown(api, path)["tags"] == []
    entries = api.get(f"/linkspan/audit?object_id={site.router['id']}&action=update")["audit"]
    assert [entry["fields"] for entry in entries] == [["tags"]] * 5


def test_only_the_inventory_has_tags(site: LocalSite) -> None:
    assert {resource.name for resource in RESOURCES if "tags" in resource.by_name} == {r.name for r in INVENTORY}
    path = f"/vpn/vpnservices/{site.service['id']}"
    assert "tags" not in shown(site.api, path)
    assert site.api.send("PUT", f"{path}/tags", {"tags": ["a"]}).status_code == 404


def test_tags_are_also_attributes_of_what_is_created_and_changed(api: Api) -> None:
    network = api.create("/networks", "network", name="lan", tags=["a", "b"])
    assert network["tags"] == ["a", "b"]
    assert api.update(f"/networks/{network['id']}", "network", tags=["b"])["tags"] == ["b"]
    assert api.refused("POST", "/networks", {"network": {"tags": ["a", "a"]}}) == INPUT
    assert api.refused("POST", "/routers", {"router": {"tags": "a"}}) == INPUT


REFUSED: list[tuple[Any, tuple[int, str]]] = [
    ({}, (400, "HTTPBadRequest")),
    ({"tag": ["a"]}, INPUT),
    ({"tags": "a"}, INPUT),
    ({"tags": None}, INPUT),
    ({"tags": [7]}, INPUT),
    ({"tags": ["a", "a"]}, INPUT),
    ({"tags": ["a" * 256]}, INPUT),
    ({"tags": ["a\x00b"]}, INPUT),
    ({"tags": [str(number) for number in range(51)]}, BAD),
]


def test_tags_are_refused(api: Api) -> None:
    subnet = api.inside()
    path = f"/subnets/{subnet['id']}/tags"
    for body, expected in REFUSED:
        for method in ("PUT", "POST"):
            assert api.refused(method, path, body) == expected, body
    fifty = [str(number) for number in range(50)]
    api.send("PUT", path, {"tags": fifty})
    assert api.refused("PUT", f"{path}/more") == BAD
    assert api.refused("POST", path, {"tags": ["more"]}) == BAD
    assert api.send("PUT", f"{path}/0").status_code == 201
    assert api.refused("PUT", f"{path}/{'a' * 256}") == INPUT
    assert api.get(path)["tags"] == fifty
    for method, more in (("GET", ""), ("PUT", "/a"), ("DELETE", ""), ("DELETE", "/a"), ("GET", "/a")):
        assert api.refused(method, f"/subnets/{NOWHERE}/tags{more}") == (404, "SubnetNotFound")
    assert api.send("PATCH", path, {"tags": []}).status_code == 405
    current = shown(api, f"/subnets/{subnet['id']}")["revision_number"]
    for method, more in (("PUT", "/a"), ("DELETE", ""), ("DELETE", "/0")):
        assert api.refused(method, f"{path}{more}", headers=at(current - 1)) == FAILED
    assert api.send("DELETE", f"{path}/0", headers=at(current)).status_code == 204


def test_who_may_change_tags(site: LocalSite, open_api: OpenApi) -> None:
    api = site.api
    for path in paths_of(site):
        type = f"{path.split('/')[1][:-1].capitalize()}NotFound"
        api.send("PUT", f"{path}/tags", {"tags": ["a"]})
        for method, more, body in (
            ("PUT", "", {"tags": []}),
            ("POST", "", {"tags": ["b"]}),
            ("PUT", "/b", None),
            ("DELETE", "/a", None),
            ("DELETE", "", None),
        ):
            assert api.as_("bob").refused(method, f"{path}/tags{more}", body) == (404, type)
            assert api.as_("reader").refused(method, f"{path}/tags{more}", body) == (403, "PolicyNotAuthorized")
            assert api.as_("auditor").refused(method, f"{path}/tags{more}", body) == (403, "PolicyNotAuthorized")
        assert api.as_("bob").refused("GET", f"{path}/tags") == (404, type)
        assert api.as_("reader").get(f"{path}/tags")["tags"] == ["a"]
        assert api.as_("admin").send("DELETE", f"{path}/tags/a").status_code == 204
    shared = f"/networks/{site.outside['id']}/tags"
    assert api.get(shared)["tags"] == []
    assert api.refused("PUT", f"{shared}/mine") == (403, "PolicyNotAuthorized")


def test_a_policy_file_decides_who_changes_tags_of_ports(open_api: OpenApi) -> None:
    with open_api(policy=policy_of({"update_port": "rule:admin_only"})) as api:
        *_, port = paths_of(LocalSite(api))
        assert api.refused("PUT", f"{port}/tags/a") == (403, "PolicyNotAuthorized")
        assert api.as_("admin").send("PUT", f"{port}/tags/a").status_code == 201


FOUND: list[tuple[str, list[str]]] = [
    ("tags=a", ["a", "ab", "abc"]),
    ("tags=a,b", ["ab", "abc"]),
    ("tags=a&tags=b&tags=c", ["abc"]),
    ("tags=a,x", []),
    ("tags=A", []),
    ("tags=", []),
    ("tags-any=b,c", ["ab", "abc", "c"]),
    ("tags-any=b&tags-any=c,x", ["ab", "abc", "c"]),
    ("not-tags=a,b", ["a", "c", "none"]),
    ("not-tags=a&not-tags=b", ["a", "c", "none"]),
    ("not-tags-any=a,b", ["c", "none"]),
    ("not-tags-any=a,b,c", ["none"]),
    ("tags=a&not-tags-any=c", ["a", "ab"]),
    ("tags-any=a,c&not-tags=a,b&limit=1", ["a"]),
    ("tags=a&name=ab", ["ab"]),
    ("tags=a&is_default=false&sort_key=name&sort_dir=desc", ["abc", "ab", "a"]),
    ("tags=%25", []),
    ('tags="', []),
]


def test_objects_are_found_by_their_tags(api: Api) -> None:
    """Of five networks the letters of the names are the tags, and `none` has none."""
    for name in ("a", "ab", "abc", "c"):
        api.create("/networks", "network", name=name, tags=list(name))
    api.create("/networks", "network", name="none")
    for query, expected in FOUND:
        assert [network["name"] for network in api.get(f"/networks?{query}")["networks"]] == expected, query


def test_every_tag_is_found_as_it_is(api: Api) -> None:
    tags = ['"', '"a"', "a%", "_", "\\", "null", "é", "e\u0301", " a", "1", "true", "😀", "[]"]
    for tag in tags:
        api.create("/networks", "network", name=tag, tags=[tag])
    for tag in tags:
        query = httpx.QueryParams({"tags": tag})
        assert [network["name"] for network in api.get(f"/networks?{query}")["networks"]] == [tag]


def test_every_resource_is_found_by_tags(site: LocalSite) -> None:
    api = site.api
    for path in paths_of(site):
        collection, id = path.strip("/").split("/")
        api.send("PUT", f"{path}/tags", {"tags": ["north"]})
        for query in ("tags=north", "tags-any=x,north"):
            assert [each["id"] for each in api.get(f"/{collection}?{query}")[collection]] == [id]
        for query in ("not-tags=north", "not-tags-any=north,x"):
            assert id not in [each["id"] for each in api.get(f"/{collection}?{query}")[collection]]
        assert api.as_("bob").get(f"/{collection}?tags=north")[collection] == []
        assert api.refused("GET", f"/{collection}?tags=%00") == INPUT
