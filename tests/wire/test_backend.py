"""The ESP backend: detected by the agent, reported to the operator, and verified by where the SAs are.

tests/kernel runs these tests in user-mode Linux too, where the backend is kernel ESP.
"""

from __future__ import annotations

import pytest

from linkspan.drivers.linux import esp_backend
from tests.harness.world import World, until

pytestmark = [pytest.mark.wire, pytest.mark.root]


def test_the_agent_detects_and_reports_its_esp_backend(world: World) -> None:
    (node,) = world.admin.request("GET", "/v2.0/linkspan/nodes")["nodes"]
    assert node["backend"] == esp_backend.detect()
    assert node["capabilities"]["traps"] is (node["backend"] == "kernel")
    assert {"aes-128", "aes-256-gcm-16"} <= set(node["capabilities"]["encryption"])
    assert {"group14", "group31"} <= set(node["capabilities"]["key_exchanges"])
    log = (world.state / "logs" / "node-1.log").read_text()
    assert f'"backend": "{node["backend"]}"' in log or f'"backend":"{node["backend"]}"' in log


def test_the_sas_are_in_the_kernel_only_with_kernel_esp(world: World) -> None:
    # charon keeps the replaced inbound state for some seconds after the first rekey.
    until(lambda: world.inside(world.gateway("left"), "ip", "xfrm", "state").count("proto esp") in (0, 2), 15.0)
    states = world.inside(world.gateway("left"), "ip", "xfrm", "state")
    links = world.inside(world.gateway("left"), "ip", "-o", "link")
    if esp_backend.detect() == "kernel":
        assert states.count("proto esp") == 2, "one state for each direction"
        # The laboratory's policies have the default algorithms, aes-128 with sha256.
        assert "enc cbc(aes)" in states
        assert "auth-trunc hmac(sha256)" in states
        assert "mode tunnel" in states
        assert "ipsec0" not in links
    else:
        assert "proto esp" not in states
        assert "ipsec0" in links
