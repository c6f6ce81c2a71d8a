"""On one network an address has one owner, and one text."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

from linkspan.store.database.tables import WORDS

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_COLUMNS = "subnet_id, ip_address, port_id"


def upgrade() -> None:
    """To this version. An address with a zone was the same address on the wire as the one without, which may be
    another router's: its port loses it, and the node of its gateway reads it anew."""
    _remove_zones()
    op.execute("CREATE TABLE carried AS SELECT * FROM address")
    op.drop_table("address")
    op.create_table(
        "address",
        sa.Column("subnet_id", WORDS, nullable=False),
        sa.Column("ip_address", WORDS, nullable=False),
        sa.Column("port_id", WORDS, nullable=False),
        sa.Column("network_id", WORDS, nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["network.id"], name=op.f("fk_address_network_id")),
        sa.ForeignKeyConstraint(["port_id"], ["port.id"], name=op.f("fk_address_port_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["subnet_id"], ["subnet.id"], name=op.f("fk_address_subnet_id")),
        sa.PrimaryKeyConstraint("subnet_id", "ip_address", name=op.f("pk_address")),
        sqlite_with_rowid=False,
    )
    op.execute(
        f"INSERT INTO address ({_COLUMNS}, network_id) "  # noqa: S608 # names of ours
        "SELECT carried.subnet_id, carried.ip_address, carried.port_id, port.network_id "
        "FROM carried JOIN port ON port.id = carried.port_id"
    )
    op.drop_table("carried")
    op.create_index(op.f("ix_address_port_id"), "address", ["port_id"], unique=False)
    op.create_index("uq_address_network_id", "address", ["network_id", "ip_address"], unique=True)


def _remove_zones() -> None:
    connection = op.get_bind()
    port = sa.table("port", sa.column("id"), sa.column("device_id"), sa.column("fixed_ips"))
    address = sa.table("address", sa.column("ip_address"))
    node = sa.table("node", sa.column("id"), sa.column("revision"))
    change = sa.table(
        "change",
        *map(sa.column, ("node_id", "gateway_id", "revision", "settled")),
        sa.column("deleted", sa.Boolean()),
    )
    routers = set()
    zoned = sa.select(port).where(port.c.fixed_ips.contains("%", autoescape=True))
    for id, router, text in connection.execute(zoned).all():
        kept = [fixed for fixed in json.loads(text) if "%" not in fixed["ip_address"]]
        connection.execute(port.update().where(port.c.id == id).values(fixed_ips=json.dumps(kept)))
        routers.add(router)
    connection.execute(address.delete().where(address.c.ip_address.contains("%", autoescape=True)))
    for router in sorted(routers):
        carried = sa.and_(change.c.gateway_id == router, sa.not_(change.c.deleted))
        nodes = sa.select(change.c.node_id).where(carried)
        connection.execute(node.update().where(node.c.id.in_(nodes)).values(revision=node.c.revision + 1))
        newest = sa.select(node.c.revision).where(node.c.id == change.c.node_id).scalar_subquery()
        connection.execute(change.update().where(carried).values(revision=newest, settled=None))
