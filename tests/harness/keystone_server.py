"""Sets up and serves a Keystone in one process, so that its slow imports happen once.

Run by the Python of an environment with keystone, with the arguments FOLDER FD URL REGION PASSWORD. The folder holds
the database and the keys. FD is a listening socket, on which Keystone serves URL once it is set up. The commands of
`keystone-manage` run in forks, through its own main function.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from keystone.cmd import cli  # type: ignore[import-not-found] # installed in its own environment
from keystone.server import wsgi  # type: ignore[import-not-found]
from werkzeug.serving import make_server

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


def main(folder: Path, descriptor: int, url: str, region: str, password: str) -> None:
    """Set Keystone up and serve it until the process ends."""
    config = folder / "keystone.conf"
    config.write_text(CONFIG.format(folder=folder), encoding="utf-8")
    (folder / "keys").mkdir(mode=0o700)
    owner = (f"--keystone-user={os.geteuid()}", f"--keystone-group={os.getegid()}")
    manage(config, "db_sync")
    manage(config, "fernet_setup", *owner)
    endpoint = (f"--bootstrap-public-url={url}/v3", f"--bootstrap-region-id={region}")
    manage(config, "bootstrap", f"--bootstrap-password={password}", *endpoint)
    # The application reads its configuration and sys.argv by itself.
    os.environ["OS_KEYSTONE_CONFIG_DIR"] = str(folder)
    sys.argv[1:] = []
    make_server("127.0.0.1", 0, wsgi.initialize_public_application(), threaded=True, fd=descriptor).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6])
