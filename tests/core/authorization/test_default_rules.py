"""The rules of the API: their names, and the errors in a policy file."""

from __future__ import annotations

import pytest

from linkspan.core.authorization import language
from linkspan.core.authorization.default_rules import BASE, RULES, load
from linkspan.core.authorization.language import RuleError
from linkspan.core.schema.resources import RESOURCES


def test_the_names_are_neutrons() -> None:
    names = {rule.name for rule in RULES}
    assert len(names) == len(RULES)
    assert {
        "context_is_admin",
        "admin_or_owner",
        "create_vpnservice",
        "get_ikepolicy",
        "update_ipsecpolicy",
        "delete_ipsec_site_connection",
        "get_ipsec_site_connection:psk",
        "get_endpoint_group",
        "create_network:router:external",
        "create_network:shared",
        "update_network:shared",
        "add_router_interface",
        "remove_router_interface",
        "update_quota",
    } <= names
    assert "update_network:router:external" not in names, "no client can change it"
    assert "create_port" not in names
    for resource in RESOURCES:
        assert f"get_{resource.singular}" in names


def test_every_rule_has_a_help_text_and_only_base_rules_have_no_requests() -> None:
    for rule in RULES:
        assert rule.help
        assert bool(rule.requests) == (rule not in BASE), rule.name


def test_every_base_rule_is_referenced_or_neutrons() -> None:
    referenced = {
        leaf.name
        for rule in RULES
        for leaf in language.leaves(language.parse(rule.text))
        if isinstance(leaf, language.Reference)
    }
    assert {rule.name for rule in BASE} - referenced == {"admin_or_owner", "regular_user"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"get_vpnservce": "@"},
            "rule 'get_vpnservce' is unknown, and no other rule references it; did you mean 'get_vpnservice'?",
        ),
        ({"qqqq": "@"}, "rule 'qqqq' is unknown, and no other rule references it"),
        ({"qqqq": "rule:wwww", "wwww": "@"}, "rule 'qqqq' is unknown"),
        (
            {"get_router": "rule:admin_olny"},
            "rule 'get_router' references 'admin_olny', which is not defined; did you mean 'admin_only'?",
        ),
        ({"get_router": "role:admin adn role:x"}, "rule 'get_router': 'adn' is not a check"),
        ({"get_router": None}, "rule 'get_router': a rule must be a string, not None"),
        ({5: "@"}, "the name of a rule must be a string, not 5"),
        (
            {"get_router": "project_id:%(projct_id)s"},
            "rule 'get_router' checks 'projct_id', which the object does not have; did you mean 'project_id'?",
        ),
        ({"get_router": "rule:shared"}, "rule 'get_router' checks 'shared', which the object does not have"),
        ({"get_ipsec_site_connection": "'x':%(psk)s"}, "checks 'psk', which the object does not have"),
        ({"get_ipsec_site_connection": "'ACTIVE':%(status)s"}, "checks 'status', which the object does not have"),
        ({"get_subnet": "rule:network_owner"}, "rule 'get_subnet' checks 'network:project_id'"),
        ({"create_router": "'x':%(id)s"}, "rule 'create_router' checks 'id'"),
        ({"owner": "user_id:%(user_id)s"}, "checks 'user_id', which the object does not have"),
        ({"get_router": "Role:admin"}, "rule 'get_router' checks 'Role' of the caller; did you mean 'role'?"),
        ({"get_router": "system_scope:all"}, "checks 'system_scope' of the caller; known are user_id, project_id"),
        (
            {"shared": "field:networks:shared=True"},
            "write 'True:%(shared)s' and the like for Neutron's 'field:' checks",
        ),
        ({"owner": "rule:project_member"}, "references itself"),
        ({"default": "rule:admin_or_owner"}, "rule 'default' is unknown"),
    ],
)
def test_an_invalid_policy_file_is_refused(changes: dict[object, object], words: str) -> None:
    with pytest.raises(RuleError) as caught:
        load(changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_policy_file_may_add_rules() -> None:
    rules = load({"operators": [["role:operator"], ["role:admin"]], "get_node": "rule:operators"})
    assert rules.allows("get_node", {}, {"roles": ["Operator"]})
    assert not rules.allows("get_node", {}, {"roles": ["member"]})


def test_rules_of_neutrons_sample_files_are_accepted() -> None:
    """Lines of the sample files of Neutron and VPNaaS, with the default roles."""
    load(
        {
            "context_is_admin": "role:admin",
            "owner": "tenant_id:%(tenant_id)s",
            "admin_or_owner": "rule:context_is_admin or rule:owner",
            "regular_user": "",
            "network_owner": "tenant_id:%(network:tenant_id)s",
            "create_vpnservice": "rule:regular_user",
            "get_vpnservice": "(rule:admin_only) or (role:reader and project_id:%(project_id)s)",
            "delete_ikepolicy": "rule:admin_or_owner",
            "update_ipsecpolicy": "(rule:admin_only) or (role:member and project_id:%(project_id)s)",
            "create_subnet": "(rule:admin_only) or (role:member and rule:network_owner)",
            "create_network:shared": "rule:admin_only",
        }
    )
