"""Add who stored and who requested what, and the quotas of keys.

The previous version ignores the columns. Its rows belong to nobody, and count to no quota.
"""

import sqlalchemy as sa
from alembic import op

revision = "20261127_1010"
down_revision = "20261127_0950"
branch_labels = None
depends_on = None

_INDEXES = (("videos", ["client"]), ("analyses", ["client", "started_at"]))


def upgrade() -> None:
    """Add the columns and their indexes."""
    for table in ("videos", "analyses"):
        op.add_column(table, sa.Column("client", sa.String(16), nullable=True))
    op.add_column("api_keys", sa.Column("max_bytes", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("max_jobs", sa.Integer(), nullable=True))
    for table, columns in _INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)


def downgrade() -> None:
    """Drop the columns and their indexes."""
    for table, columns in _INDEXES:
        op.drop_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table)
    for name in ("max_bytes", "max_jobs"):
        op.drop_column("api_keys", name)
    for table in ("videos", "analyses"):
        op.drop_column(table, "client")
