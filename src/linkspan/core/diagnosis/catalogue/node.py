"""The causes of the node that runs it."""

from __future__ import annotations

from typing import Final

from linkspan.core.diagnosis.catalogue.declared import Declared

NODE: Final = (
    Declared(
        code="NODE_MISSING",
        layer="node",
        title="no node",
        sentence="no node can run the gateway",
        side="ours",
        ours="start an agent with 'linkspan agent'",
        visible_after=60.0,
    ),
    Declared(
        code="NODE_LOST",
        layer="node",
        title="the node is lost",
        sentence="the node has sent no report since its lease expired",
        side="ours",
        ours="check the agent and its way to the API",
        visible_after=30.0,
    ),
    Declared(
        code="AGENT_STALE",
        layer="node",
        title="the node lags behind",
        sentence="the node has not applied the newest revision",
        side="ours",
        ours="see the agent's log",
        visible_after=60.0,
    ),
    Declared(
        code="AGENT_STOPPED",
        layer="node",
        title="the agent was stopped",
        sentence="the agent was stopped and removed its gateways",
        side="ours",
        ours="start the agent again",
    ),
    Declared(
        code="IKE_DAEMON_DOWN",
        layer="node",
        title="charon was restarted",
        sentence="the gateway's charon was restarted",
        side="ours",
        ours="nothing, if the tunnel comes up again; see the agent's log if charon stops again",
    ),
    Declared(
        code="CONFIG_REFUSED_HERE",
        layer="node",
        title="the node cannot use the configuration",
        sentence="the node cannot use the configuration",
        side="ours",
        ours="follow the status reason",
    ),
    Declared(
        code="IKE_VERSION_UNSUPPORTED_HERE",
        layer="node",
        title="the node's strongSwan lacks the IKE version",
        sentence="the node's strongSwan has no IKEv1",
        side="ours",
        ours="use an IKE policy with ike_version v2, or a node whose strongSwan has IKEv1",
    ),
    Declared(
        code="ALGORITHM_UNSUPPORTED_HERE",
        layer="node",
        title="the node lacks an algorithm",
        sentence="the node has no implementation of an algorithm of the policies",
        side="ours",
        ours="choose another algorithm, or a node that has it",
    ),
    Declared(
        code="KERNEL_LACKS_FEATURE",
        layer="node",
        title="the node's IPsec lacks a feature",
        sentence="the node's kernel, or its user-space ESP, has no AH or no transport mode",
        side="ours",
        ours="set transform_protocol to esp and encapsulation_mode to tunnel, or use a node with the kernel's IPsec",
    ),
    Declared(
        code="LOCAL_LINK_DOWN",
        layer="node",
        title="our own interface is down",
        sentence="the gateway's outside interface is missing or down",
        side="ours",
        ours="restore the interface, and the bridge or port that it is on",
        visible_after=30.0,
    ),
    Declared(
        code="LOCAL_ADDRESS_ABSENT",
        layer="node",
        title="our own address is missing",
        sentence="the gateway does not have its own address {ours}",
        side="ours",
        ours="find what removed the address; the agent restores it if it can",
        visible_after=30.0,
    ),
)
