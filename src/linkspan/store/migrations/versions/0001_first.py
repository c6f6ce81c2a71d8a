"""The first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WORDS = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "encryption_key",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("proof", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_encryption_key")),
    )
    op.create_table(
        "endpoint_group",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("type", WORDS, nullable=False),
        sa.Column("endpoints", sa.Text(), nullable=False),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoint_group")),
    )
    op.create_index("ix_endpoint_group_project_id", "endpoint_group", ["project_id", "name", "id"], unique=False)
    op.create_table(
        "ike_policy",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("auth_algorithm", WORDS, nullable=False),
        sa.Column("encryption_algorithm", WORDS, nullable=False),
        sa.Column("pfs", WORDS, nullable=False),
        sa.Column("lifetime", sa.Text(), nullable=False),
        sa.Column("phase1_negotiation_mode", WORDS, nullable=False),
        sa.Column("ike_version", WORDS, nullable=False),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ike_policy")),
    )
    op.create_index("ix_ike_policy_project_id", "ike_policy", ["project_id", "name", "id"], unique=False)
    op.create_table(
        "ipsec_policy",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("auth_algorithm", WORDS, nullable=False),
        sa.Column("encryption_algorithm", WORDS, nullable=False),
        sa.Column("pfs", WORDS, nullable=False),
        sa.Column("lifetime", sa.Text(), nullable=False),
        sa.Column("transform_protocol", WORDS, nullable=False),
        sa.Column("encapsulation_mode", WORDS, nullable=False),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ipsec_policy")),
    )
    op.create_index("ix_ipsec_policy_project_id", "ipsec_policy", ["project_id", "name", "id"], unique=False)
    op.create_table(
        "network",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("router_external", sa.Boolean(), nullable=False),
        sa.Column("shared", sa.Boolean(), nullable=False),
        sa.Column("mtu", sa.Integer(), nullable=False),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network")),
    )
    op.create_index("ix_network_project_id", "network", ["project_id", "name", "id"], unique=False)
    op.create_table(
        "node",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("token_hash", WORDS, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("backend", WORDS, nullable=False),
        sa.Column("agent_version", WORDS, nullable=False),
        sa.Column("charon_version", WORDS, nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node")),
        sa.UniqueConstraint("name", name=op.f("uq_node_name")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_node_token_hash")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "project",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        sa.UniqueConstraint("name", name=op.f("uq_project_name")),
    )
    op.create_table(
        "quota",
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("resource", WORDS, nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "resource", name=op.f("pk_quota")),
    )
    op.create_table(
        "router",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_router")),
    )
    op.create_index("ix_router_project_id", "router", ["project_id", "name", "id"], unique=False)
    op.create_table(
        "account",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("project_id", WORDS, nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_account_project_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("name", name=op.f("uq_account_name")),
    )
    op.create_table(
        "change",
        sa.Column("node_id", WORDS, nullable=False),
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("object_id", WORDS, nullable=False),
        sa.Column("gateway_id", WORDS, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("kind IN ('gateway', 'connection')", name=op.f("ck_change_kind")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_change_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("node_id", "kind", "object_id", name=op.f("pk_change")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_change_node_id", "change", ["node_id", "revision"], unique=False)
    op.create_table(
        "gateway",
        sa.Column("router_id", WORDS, nullable=False),
        sa.Column("node_id", WORDS, nullable=True),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_gateway_node_id"), ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("router_id", name=op.f("pk_gateway")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_gateway_node_id"), "gateway", ["node_id"], unique=False)
    op.create_table(
        "observed",
        sa.Column("kind", WORDS, nullable=False),
        sa.Column("object_id", WORDS, nullable=False),
        sa.Column("node_id", WORDS, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("state", WORDS, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("applied_at", sa.Double(), nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.CheckConstraint("kind IN ('gateway', 'connection')", name=op.f("ck_observed_kind")),
        sa.ForeignKeyConstraint(["node_id"], ["node.id"], name=op.f("fk_observed_node_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("kind", "object_id", name=op.f("pk_observed")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "port",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("network_id", WORDS, nullable=False),
        sa.Column("device_id", WORDS, nullable=False),
        sa.Column("device_owner", WORDS, nullable=False),
        sa.Column("fixed_ips", sa.Text(), nullable=False),
        sa.Column("mac_address", WORDS, nullable=False),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["network.id"], name=op.f("fk_port_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_port")),
    )
    op.create_index(op.f("ix_port_device_id"), "port", ["device_id"], unique=False)
    op.create_index(op.f("ix_port_network_id"), "port", ["network_id"], unique=False)
    op.create_index("ix_port_project_id", "port", ["project_id", "name", "id"], unique=False)
    op.create_index(
        "uq_port_gateway",
        "port",
        ["device_id"],
        unique=True,
        sqlite_where=sa.text("device_owner = 'network:router_gateway'"),
        postgresql_where=sa.text("device_owner = 'network:router_gateway'"),
    )
    op.create_table(
        "subnet",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("network_id", WORDS, nullable=False),
        sa.Column("ip_version", sa.Integer(), nullable=False),
        sa.Column("cidr", WORDS, nullable=False),
        sa.Column("gateway_ip", WORDS, nullable=True),
        sa.Column("enable_dhcp", sa.Boolean(), nullable=False),
        sa.Column("allocation_pools", sa.Text(), nullable=True),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["network_id"], ["network.id"], name=op.f("fk_subnet_network_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subnet")),
    )
    op.create_index(op.f("ix_subnet_network_id"), "subnet", ["network_id"], unique=False)
    op.create_index("ix_subnet_project_id", "subnet", ["project_id", "name", "id"], unique=False)
    op.create_table(
        "account_role",
        sa.Column("user_id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("role", WORDS, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_account_role_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["account.id"], name=op.f("fk_account_role_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "project_id", "role", name=op.f("pk_account_role")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "address",
        sa.Column("subnet_id", WORDS, nullable=False),
        sa.Column("ip_address", WORDS, nullable=False),
        sa.Column("port_id", WORDS, nullable=False),
        sa.ForeignKeyConstraint(["port_id"], ["port.id"], name=op.f("fk_address_port_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["subnet_id"], ["subnet.id"], name=op.f("fk_address_subnet_id")),
        sa.PrimaryKeyConstraint("subnet_id", "ip_address", name=op.f("pk_address")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_address_port_id"), "address", ["port_id"], unique=False)
    op.create_table(
        "service",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("router_id", WORDS, nullable=False),
        sa.Column("subnet_id", WORDS, nullable=True),
        sa.Column("flavor_id", WORDS, nullable=True),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.Column("holder_id", WORDS, nullable=True),
        sa.Column(
            "live_router_id",
            WORDS,
            sa.Computed("CASE WHEN deleted_at IS NULL THEN router_id END", persisted=True),
            nullable=True,
        ),
        sa.Column(
            "live_subnet_id",
            WORDS,
            sa.Computed("CASE WHEN deleted_at IS NULL THEN subnet_id END", persisted=True),
            nullable=True,
        ),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["holder_id"], ["node.id"], name=op.f("fk_service_holder_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["live_router_id"], ["router.id"], name=op.f("fk_service_live_router_id")),
        sa.ForeignKeyConstraint(["live_subnet_id"], ["subnet.id"], name=op.f("fk_service_live_subnet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service")),
    )
    op.create_index(op.f("ix_service_live_router_id"), "service", ["live_router_id"], unique=False)
    op.create_index(op.f("ix_service_live_subnet_id"), "service", ["live_subnet_id"], unique=False)
    op.create_index("ix_service_project_id", "service", ["project_id", "name", "id"], unique=False)
    op.create_table(
        "token",
        sa.Column("token_hash", WORDS, nullable=False),
        sa.Column("user_id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_token_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["account.id"], name=op.f("fk_token_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_token")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_token_user_id"), "token", ["user_id"], unique=False)
    op.create_table(
        "connection",
        sa.Column("id", WORDS, nullable=False),
        sa.Column("project_id", WORDS, nullable=False),
        sa.Column("name", WORDS, nullable=False),
        sa.Column("description", WORDS, nullable=False),
        sa.Column("vpnservice_id", WORDS, nullable=False),
        sa.Column("ikepolicy_id", WORDS, nullable=False),
        sa.Column("ipsecpolicy_id", WORDS, nullable=False),
        sa.Column("peer_address", WORDS, nullable=False),
        sa.Column("peer_id", WORDS, nullable=False),
        sa.Column("local_id", WORDS, nullable=False),
        sa.Column("peer_cidrs", sa.Text(), nullable=False),
        sa.Column("local_ep_group_id", WORDS, nullable=True),
        sa.Column("peer_ep_group_id", WORDS, nullable=True),
        sa.Column("psk", sa.LargeBinary(), nullable=True),
        sa.Column("psk_key_id", WORDS, nullable=True),
        sa.Column("psk_ref", WORDS, nullable=True),
        sa.Column("mtu", sa.Integer(), nullable=False),
        sa.Column("initiator", WORDS, nullable=False),
        sa.Column("dpd", sa.Text(), nullable=False),
        sa.Column("admin_state_up", sa.Boolean(), nullable=False),
        sa.Column("auth_mode", WORDS, nullable=False),
        sa.Column("deleted_at", sa.Double(), nullable=True),
        sa.Column("holder_id", WORDS, nullable=True),
        sa.Column(
            "live_vpnservice_id",
            WORDS,
            sa.Computed("CASE WHEN deleted_at IS NULL THEN vpnservice_id END", persisted=True),
            nullable=True,
        ),
        sa.Column(
            "live_ikepolicy_id",
            WORDS,
            sa.Computed("CASE WHEN deleted_at IS NULL THEN ikepolicy_id END", persisted=True),
            nullable=True,
        ),
        sa.Column(
            "live_ipsecpolicy_id",
            WORDS,
            sa.Computed("CASE WHEN deleted_at IS NULL THEN ipsecpolicy_id END", persisted=True),
            nullable=True,
        ),
        sa.Column(
            "live_local_ep_group_id",
            WORDS,
            sa.Computed("CASE WHEN deleted_at IS NULL THEN local_ep_group_id END", persisted=True),
            nullable=True,
        ),
        sa.Column(
            "live_peer_ep_group_id",
            WORDS,
            sa.Computed("CASE WHEN deleted_at IS NULL THEN peer_ep_group_id END", persisted=True),
            nullable=True,
        ),
        sa.Column("revision_number", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["holder_id"], ["node.id"], name=op.f("fk_connection_holder_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["live_ikepolicy_id"], ["ike_policy.id"], name=op.f("fk_connection_live_ikepolicy_id")),
        sa.ForeignKeyConstraint(
            ["live_ipsecpolicy_id"], ["ipsec_policy.id"], name=op.f("fk_connection_live_ipsecpolicy_id")
        ),
        sa.ForeignKeyConstraint(
            ["live_local_ep_group_id"],
            ["endpoint_group.id"],
            name=op.f("fk_connection_live_local_ep_group_id"),
        ),
        sa.ForeignKeyConstraint(
            ["live_peer_ep_group_id"], ["endpoint_group.id"], name=op.f("fk_connection_live_peer_ep_group_id")
        ),
        sa.ForeignKeyConstraint(["live_vpnservice_id"], ["service.id"], name=op.f("fk_connection_live_vpnservice_id")),
        sa.ForeignKeyConstraint(["psk_key_id"], ["encryption_key.id"], name=op.f("fk_connection_psk_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection")),
    )
    op.create_index(op.f("ix_connection_live_ikepolicy_id"), "connection", ["live_ikepolicy_id"], unique=False)
    op.create_index(op.f("ix_connection_live_ipsecpolicy_id"), "connection", ["live_ipsecpolicy_id"], unique=False)
    op.create_index(
        op.f("ix_connection_live_local_ep_group_id"), "connection", ["live_local_ep_group_id"], unique=False
    )
    op.create_index(op.f("ix_connection_live_peer_ep_group_id"), "connection", ["live_peer_ep_group_id"], unique=False)
    op.create_index(op.f("ix_connection_live_vpnservice_id"), "connection", ["live_vpnservice_id"], unique=False)
    op.create_index("ix_connection_project_id", "connection", ["project_id", "name", "id"], unique=False)
