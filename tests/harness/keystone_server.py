"""Keystone for wsgi_server.py, set up in the process that serves it, so that its slow imports happen once.

The folder holds the database and the keys. The commands of `keystone-manage` run in forks, through its own main
function.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from keystone.cmd import cli  # type: ignore[import-not-found] # installed in its own environment
from keystone.server import wsgi  # type: ignore[import-not-found]

CONFIG = """\
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{folder}/keystone.db
[fernet_tokens]
key_repository = {folder}/keys
[fernet_receipts]
key_repository = {folder}/keys
[credential]
key_repository = {folder}/keys
[identity]
# The minimum of bcrypt: the passwords of tests need no protection.
password_hash_rounds = 4
"""


def manage(config: Path, *words: str) -> None:
    """Run a `keystone-manage` command in a fork. Raises SystemExit if it fails."""
    child = os.fork()
    if not child:
        code = 1
        try:
            cli.main(["keystone-manage", "--config-file", str(config), *words])
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(f"keystone-manage {words[0]} failed")


def application(folder: Path, url: str, region: str, password: str) -> Any:
    """Set Keystone up and return its application."""
    config = folder / "keystone.conf"
    config.write_text(CONFIG.format(folder=folder), encoding="utf-8")
    (folder / "keys").mkdir(mode=0o700)
    owner = (f"--keystone-user={os.geteuid()}", f"--keystone-group={os.getegid()}")
    manage(config, "db_sync")
    manage(config, "fernet_setup", *owner)
    endpoint = (f"--bootstrap-public-url={url}/v3", f"--bootstrap-region-id={region}")
    manage(config, "bootstrap", f"--bootstrap-password={password}", *endpoint)
    # The application reads its configuration by itself.
    os.environ["OS_KEYSTONE_CONFIG_DIR"] = str(folder)
    return wsgi.initialize_public_application()
