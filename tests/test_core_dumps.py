"""The API, the agent and `linkspan run` leave no core dumps, which would have keys in them."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
from linkspan.admin import preflight
from linkspan.agent import api_client
from linkspan.bootstrap import processes, run_all, wiring
from linkspan.settings import Settings

def stop(*arguments):
    sys.exit(f"{resource.getrlimit(resource.RLIMIT_CORE)} {ctypes.CDLL(None).prctl(3)}")

if resource.getrlimit(resource.RLIMIT_CORE)[1]:  # a test in this process may have lowered it for good
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
preflight.require_root = preflight.require_tools = lambda *arguments: None
wiring.check_authentication = api_client.check_url = stop
match sys.argv[1]:
    case "api":
        processes.run_api_server(Settings())
    case "agent":
        processes.run_agent(Settings(), teardown=False)
    case "run":
        run_all.run_all(Settings(), nodes=1, once=True, lab=False, clean=False)
    case "none of them":
        stop()
"""


@pytest.mark.parametrize(
    ("process", "limit_and_dumpable"),
    [("api", "(0, 0) 0"), ("agent", "(0, 0) 0"), ("run", "(0, 0) 0"), ("none of them", ") 1")],
)
def test_a_process_leaves_no_core_dump(process: str, limit_and_dumpable: str) -> None:
    """Seen at its first check of the settings. The last one is the control."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, process], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith(limit_and_dumpable)
