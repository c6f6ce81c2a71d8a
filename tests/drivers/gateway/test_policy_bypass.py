"""The commands of the policy bypass. tests/drivers/test_exempt_traffic and tests/kernel test the policies' effect."""

from __future__ import annotations

from linkspan.core.ipsec.selectors import SelectorPair
from linkspan.drivers.gateway import policy_bypass

A = SelectorPair("10.1.0.0/24", "10.60.0.0/24")
B = SelectorPair("fd00:1::/64", "fe80::/10")
LISTING = """\
src 10.1.0.0/24 dst 0.0.0.0/0 
\tdir out priority 5 ptype main 
\ttmpl src 0.0.0.0 dst 0.0.0.0
\t\tproto esp reqid 1 mode tunnel
src 10.1.0.0/24 dst 10.61.0.0/24 
\tdir out priority 1 ptype main 
src fd00:1::/64 dst fe80::/10 
\tdir out priority 1 ptype main 
\tmark 0/0x80000000 
src 10.60.0.0/24 dst 10.1.0.0/24 
\tdir in priority 1 ptype main 
\tmark 0/0x80000000 
src 10.60.0.0/24 dst 10.1.0.0/24 
\tdir fwd priority 1 ptype main 
\tmark 0/0x80000000 
src 10.1.0.0/24 dst 10.60.0.0/24 
\tdir out priority 1 ptype main 
\tmark 0/0x80000000 
"""  # noqa: W291 # as iproute2 prints it


def test_only_our_own_policies_are_read_from_a_listing() -> None:
    assert policy_bypass.parse(LISTING) == {A, B}
    assert policy_bypass.parse("") == frozenset()


def test_each_pair_has_a_policy_for_each_direction() -> None:
    assert policy_bypass.commands({A}) == [
        "xfrm policy update src 10.60.0.0/24 dst 10.1.0.0/24 dir in mark 0 mask 0x80000000 priority 1",
        "xfrm policy update src 10.60.0.0/24 dst 10.1.0.0/24 dir fwd mark 0 mask 0x80000000 priority 1",
        "xfrm policy update src 10.1.0.0/24 dst 10.60.0.0/24 dir out mark 0 mask 0x80000000 priority 1",
    ]
    assert policy_bypass.commands({A, B}) == policy_bypass.commands({A}) + policy_bypass.commands({B})
