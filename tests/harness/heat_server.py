"""Heat for wsgi_server.py: its API, and its engine behind the transport of oslo.messaging inside a process.

The user of the arguments, an admin, validates the tokens of Heat's clients with the identity service.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

# Before the rest of Heat: it chooses threads instead of eventlet.
from heat.cmd import engine  # type: ignore[import-not-found] # installed in its own environment

# isort: split
from heat.api.openstack import wsgi  # type: ignore[import-not-found]
from heat.db import migration  # type: ignore[import-not-found]
from heat.engine import service  # type: ignore[import-not-found]
from heat.rpc import api as rpc  # type: ignore[import-not-found]

CONFIG = """\
[DEFAULT]
transport_url = fake://
deferred_auth_method = password
auth_encryption_key = 0123456789abcdef0123456789abcdef
[paste_deploy]
api_paste_config = {prefix}/etc/heat/api-paste.ini
[database]
connection = {database}
[clients_keystone]
auth_uri = {identity}
[keystone_authtoken]
auth_type = v3password
auth_url = {identity}
www_authenticate_uri = {identity}
username = {user}
password = {password}
project_name = {project}
user_domain_id = default
project_domain_id = default
"""


def application(folder: Path, _url: str, database: str, identity: str, user: str, project: str, password: str) -> Any:
    """Set Heat up, start its engine and return the application of its API."""
    config = folder / "heat.conf"
    account = {"user": user, "project": project, "password": password}
    config.write_text(
        CONFIG.format(prefix=sys.prefix, database=database, identity=identity, **account), encoding="utf-8"
    )
    # The application reads its configuration from sys.argv by itself.
    sys.argv[1:] = [f"--config-file={config}"]
    api = wsgi.init_application()
    migration.db_sync()
    service.EngineService(engine.CONF.host, rpc.ENGINE_TOPIC).start()
    return api
