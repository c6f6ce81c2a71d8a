"""One MAC address for all ports of a router on a network: that of the gateway's interface there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from linkspan.core.addresses import interface_mac

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version. Nodes read the addresses when they next read their gateways."""
    port = sa.table("port", sa.column("id"), sa.column("device_id"), sa.column("network_id"), sa.column("mac_address"))
    connection = op.get_bind()
    change = port.update().where(port.c.id == sa.bindparam("port")).values(mac_address=sa.bindparam("mac"))
    rows = connection.execute(sa.select(port.c.id, port.c.device_id, port.c.network_id)).all()
    if rows:
        connection.execute(
            change, [{"port": id, "mac": interface_mac(str(router), str(network))} for id, router, network in rows]
        )
