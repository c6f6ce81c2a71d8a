"""List queries: parsing of query strings, and filtering and paging of rows by computed attributes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkspan.core.errors import ApiError
from linkspan.core.schema.list_query import (
    PAGE,
    Query,
    filters_by_computed,
    first,
    for_store,
    next_and_previous,
    page,
    parse,
    sorts_by_computed,
)
from linkspan.core.schema.resources import (
    CONNECTION,
    ENDPOINT_GROUP,
    IKE_POLICY,
    NETWORK,
    RESOURCES,
    SERVICE,
    STANDARD_ATTRIBUTES,
    Resource,
)
from tests.core.samples import attempt

Pairs = list[tuple[str, str]]
ID = "3f0c7a50-1b9f-4b60-9c34-3f6f0f5f0000"


def test_an_empty_query_string_selects_the_first_page() -> None:
    assert parse(IKE_POLICY, ()) == Query(limit=PAGE)


@pytest.mark.parametrize(
    ("resource", "pairs", "expected"),
    [
        (IKE_POLICY, [("name", "a"), ("name", "b")], Query(filters={"name": ("a", "b")}, limit=PAGE)),
        (IKE_POLICY, [("tenant_id", "x"), ("project_id", "y")], Query(filters={"project_id": ("x", "y")}, limit=PAGE)),
        (NETWORK, [("router:external", "True")], Query(filters={"router:external": (True,)}, limit=PAGE)),
        (NETWORK, [("shared", "0"), ("mtu", "1500")], Query(filters={"shared": (False,), "mtu": (1500,)}, limit=PAGE)),
        (ENDPOINT_GROUP, [("endpoint_type", "cidr")], Query(filters={"type": ("cidr",)}, limit=PAGE)),
        (SERVICE, [("subnet_id", "")], Query(filters={"subnet_id": (None,)}, limit=PAGE)),
        (SERVICE, [("external_v6_ip", "")], Query(filters={"external_v6_ip": ("", None)}, limit=PAGE)),
        (IKE_POLICY, [("fields", "id"), ("fields", "x"), ("fields", "")], Query(fields=("id", "x"), limit=PAGE)),
        (IKE_POLICY, [("limit", "7"), ("marker", ID)], Query(limit=7, marker=ID)),
        (IKE_POLICY, [("limit", "7"), ("marker", ID.upper())], Query(limit=7, marker=ID)),
        (IKE_POLICY, [("limit", "7"), ("marker", "office\x00")], Query(limit=7, marker="")),
        (IKE_POLICY, [("limit", "0")], Query(limit=PAGE)),
        (IKE_POLICY, [("limit", "9" * 5000)], Query(limit=PAGE)),
        (IKE_POLICY, [("page_reverse", "TRUE")], Query(limit=PAGE, page_reverse=True)),
        (IKE_POLICY, [("page_reverse", "no")], Query(limit=PAGE)),
        (
            IKE_POLICY,
            [("sort_key", "pfs"), ("sort_dir", "desc"), ("sort_key", "tenant_id"), ("sort_dir", "asc")],
            Query(sort=(("pfs", True), ("project_id", False)), limit=PAGE),
        ),
        (
            IKE_POLICY,
            [("sort_key", "name"), ("sort_dir", "desc"), ("sort_key", "name"), ("sort_dir", "asc")],
            Query(sort=(("name", True),), limit=PAGE),
        ),
    ],
)
def test_valid_queries_are_parsed(resource: Resource, pairs: Pairs, expected: Query) -> None:
    assert parse(resource, pairs) == expected


@pytest.mark.parametrize(
    ("resource", "pairs", "type_", "message"),
    [
        (
            IKE_POLICY,
            [("limit", "abc")],
            "BadRequest",
            "Bad limit request: Limit must be an integer 0 or greater and not 'abc'.",
        ),
        (IKE_POLICY, [("limit", "-1")], "BadRequest", "Bad limit request: Limit must be an integer 0 or greater and"),
        (IKE_POLICY, [("limit", "٣")], "BadRequest", "Bad limit"),
        (IKE_POLICY, [("sort_key", "name")], "HTTPBadRequest", "The number of sort_keys and sort_dirs must be same"),
        (IKE_POLICY, [("sort_dir", "asc")], "HTTPBadRequest", "The number of sort_keys"),
        (IKE_POLICY, [("sort_key", "x"), ("sort_dir", "asc")], "HTTPBadRequest", "['x'] is invalid attribute"),
        (CONNECTION, [("sort_key", "psk"), ("sort_dir", "asc")], "HTTPBadRequest", "['psk'] is invalid attribute"),
        (CONNECTION, [("sort_key", "dpd"), ("sort_dir", "asc")], "HTTPBadRequest", "['dpd'] is invalid attribute"),
        (IKE_POLICY, [("sort_key", "name"), ("sort_dir", "ASC")], "HTTPBadRequest", "['ASC'] is invalid value"),
        (IKE_POLICY, [("x", "1")], "HTTPBadRequest", "['x'] is invalid attribute for filtering"),
        (CONNECTION, [("psk", "1")], "HTTPBadRequest", "['psk'] is invalid attribute for filtering"),
        (CONNECTION, [("peer_cidrs", "1")], "HTTPBadRequest", "['peer_cidrs'] is invalid"),
        (IKE_POLICY, [("endpoint_type", "1")], "HTTPBadRequest", "['endpoint_type'] is invalid"),
        (CONNECTION, [("mtu", "x")], "InvalidInput", "'x' is not an integer"),
        (CONNECTION, [("mtu", "9999999999")], "InvalidInput", "'9999999999' is not an integer"),
        (CONNECTION, [("admin_state_up", "x")], "InvalidInput", "'x' cannot be converted to boolean"),
        (CONNECTION, [("name", "a\x00")], "InvalidInput", "null character"),
    ],
)
def test_invalid_queries_are_refused(resource: Resource, pairs: Pairs, type_: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(resource, pairs)
    assert caught.value.type == type_
    assert message in caught.value.message


@given(
    resource=st.sampled_from(RESOURCES),
    pairs=st.lists(
        st.tuples(
            st.one_of(
                st.sampled_from(
                    ["limit", "marker", "sort_key", "sort_dir", "fields", "page_reverse", "name", "status"]
                ),
                st.text(max_size=5),
            ),
            st.one_of(st.sampled_from(["asc", "desc", "name", "1", "true"]), st.text(max_size=5)),
        ),
        max_size=6,
    ),
)
def test_any_query_string_is_parsed_or_refused(resource: Resource, pairs: Pairs) -> None:
    query = attempt(parse, resource, pairs)
    if query is None:
        return
    assert query.limit is not None
    assert 1 <= query.limit <= PAGE
    part = for_store(resource, query, sorts_by_computed(resource, query))
    assert all(resource[name].filterable for name in part.filters)
    assert all(name in STANDARD_ATTRIBUTES or resource[name].filterable for name, _ in part.sort)


# --- rows ---------------------------------------------------------------------------------------------------------


def test_computed_attributes_are_left_to_first_or_page() -> None:
    filtered = parse(SERVICE, [("status", "ACTIVE"), ("name", "a"), ("limit", "3"), ("marker", ID)])
    assert filters_by_computed(SERVICE, filtered)
    assert not sorts_by_computed(SERVICE, filtered)
    assert for_store(SERVICE, filtered, False) == Query(filters={"name": ("a",)}, limit=3, marker=ID)
    ordered = parse(SERVICE, [("name", "a"), ("sort_key", "status"), ("sort_dir", "asc"), ("marker", ID)])
    assert sorts_by_computed(SERVICE, ordered)
    assert for_store(SERVICE, ordered, True) == Query(filters={"name": ("a",)})
    plain = parse(SERVICE, [("name", "a"), ("sort_key", "created_at"), ("sort_dir", "asc")])
    assert not filters_by_computed(SERVICE, plain)
    assert not sorts_by_computed(SERVICE, plain)
    assert for_store(SERVICE, plain, False) == plain


@pytest.mark.parametrize("reverse", [False, True])
def test_first_takes_no_more_than_it_needs(reverse: bool) -> None:
    taken = []

    def items() -> Iterator[dict[str, Any]]:
        for number in range(100):
            taken.append(number)
            yield {"id": str(number), "status": "DOWN" if number % 3 else "ACTIVE"}

    query = Query(filters={"status": ("ACTIVE",)}, limit=2, page_reverse=reverse)
    assert [item["id"] for item in first(query, items())] == (["3", "0"] if reverse else ["0", "3"])
    assert taken == [0, 1, 2, 3]


ITEMS: list[dict[str, Any]] = [
    {"id": "3", "name": "b", "status": "ACTIVE", "v6": None},
    {"id": "1", "name": "c", "status": "DOWN", "v6": "fd00::1"},
    {"id": "2", "name": "b", "status": "ACTIVE", "v6": "fd00::2"},
    {"id": "4", "name": "a", "status": "ERROR", "v6": None},
]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (Query(), "4231"),
        (Query(filters={"status": ("ACTIVE",)}), "23"),
        (Query(filters={"status": ("ACTIVE", "DOWN"), "name": ("c",)}), "1"),
        (Query(sort=(("status", True),)), "4123"),
        (Query(sort=(("status", False), ("name", True))), "2314"),
        (Query(sort=(("v6", False),)), "3412"),
        (Query(sort=(("v6", True),)), "2134"),
        (Query(limit=2), "42"),
        (Query(limit=2, marker="2"), "31"),
        (Query(marker="1"), ""),
        (Query(marker="9"), ""),
        (Query(limit=2, page_reverse=True), "31"),
        (Query(limit=2, page_reverse=True, marker="3"), "42"),
        (Query(limit=1, page_reverse=True, marker="3"), "2"),
    ],
)
def test_a_query_is_applied_to_rows(query: Query, ids: str) -> None:
    assert "".join(item["id"] for item in page(query, ITEMS)) == ids


ROWS = st.lists(
    st.fixed_dictionaries({"id": st.text("abcdef", min_size=2, max_size=3), "name": st.sampled_from(["", "x", "y"])}),
    unique_by=lambda item: item["id"],
    max_size=12,
)


@given(items=ROWS, limit=st.integers(1, 5), descending=st.booleans())
def test_pages_cover_everything_once_in_both_directions(
    items: list[dict[str, Any]], limit: int, descending: bool
) -> None:
    sort = (("name", descending),)
    everything = page(Query(sort=sort), items)
    assert sorted(item["id"] for item in everything) == sorted(item["id"] for item in items)
    for reverse in (False, True):
        collected: list[dict[str, Any]] = []
        marker: str | None = None
        while part := page(Query(sort=sort, limit=limit, marker=marker, page_reverse=reverse), items):
            collected = part + collected if reverse else collected + part
            marker = part[0 if reverse else -1]["id"]
        assert collected == everything


@pytest.mark.parametrize(
    ("query", "ids", "links"),
    [
        (Query(limit=2), ["a", "b"], {"next": {"marker": "b"}, "previous": {"marker": "a", "page_reverse": "True"}}),
        (Query(limit=2), ["a"], {"previous": {"marker": "a", "page_reverse": "True"}}),
        (Query(limit=2), [], {"previous": {"page_reverse": "True"}}),
        (Query(limit=2, page_reverse=True), ["a"], {"next": {"marker": "a"}}),
        (
            Query(limit=1, page_reverse=True),
            ["a"],
            {"next": {"marker": "a"}, "previous": {"marker": "a", "page_reverse": "True"}},
        ),
    ],
)
def test_links_to_adjacent_pages(query: Query, ids: list[str], links: dict[str, dict[str, str]]) -> None:
    assert next_and_previous(query, ids) == links
