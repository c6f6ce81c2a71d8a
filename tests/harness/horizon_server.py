"""Horizon with the VPN pages for wsgi_server.py, with its static files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import neutron_vpnaas_dashboard.enabled  # type: ignore[import-not-found] # installed in its own environment
import openstack_dashboard.local.enabled  # type: ignore[import-not-found]


def settings(folder: Path, identity: str) -> ModuleType:
    """Return what an operator writes into local/local_settings.py."""
    module = ModuleType("local.local_settings")
    vars(module).update(
        # With it Django serves static files.
        DEBUG=True,
        LOGGING={"version": 1, "disable_existing_loggers": False},
        SECRET_KEY="of one run",
        ALLOWED_HOSTS=["127.0.0.1"],
        OPENSTACK_KEYSTONE_URL=identity,
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        STATIC_ROOT=str(folder / "static"),
        # The pages are tested, not how they look.
        COMPRESS_ENABLED=False,
        COMPRESS_PRECOMPILERS=(),
    )
    return module


def application(folder: Path, _url: str, identity: str) -> Any:
    """Return Horizon's application, for the users of an identity service."""
    # As the installation of the VPN pages says: their file is copied into local/enabled.
    openstack_dashboard.local.enabled.__path__.extend(neutron_vpnaas_dashboard.enabled.__path__)
    sys.modules["local.local_settings"] = settings(folder, identity)
    os.environ["DJANGO_SETTINGS_MODULE"] = "openstack_dashboard.settings"
    # Django reads the settings when it is imported.
    from django.contrib.staticfiles.handlers import StaticFilesHandler  # type: ignore[import-not-found]
    from django.core.wsgi import get_wsgi_application  # type: ignore[import-not-found]

    return StaticFilesHandler(get_wsgi_application())
