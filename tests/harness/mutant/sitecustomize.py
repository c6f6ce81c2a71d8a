"""Imported by Python at startup if this folder is on the path: makes an agent a mutant (see `harness/mutations`)."""

from __future__ import annotations

import os
import sys

if os.environ.get("TEST_MUTANT") and "agent" in sys.orig_argv:
    import msgspec

    from linkspan.core.state import desired
    from tests.harness.mutations import mutate, mutate_gateway

    attribute, _, way = os.environ["TEST_MUTANT"].partition("=")
    decode = desired.decode

    def mutated(body: bytes) -> desired.Delta:
        delta = decode(body)
        connections = tuple(mutate(connection, attribute, way) for connection in delta.connections)  # type: ignore[arg-type]
        gateways = tuple(mutate_gateway(gateway, attribute) for gateway in delta.gateways)
        return msgspec.structs.replace(delta, connections=connections, gateways=gateways)

    desired.decode = mutated
