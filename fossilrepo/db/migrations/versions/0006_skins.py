"""Organizations whose repositories wear the site's look."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "organizations",
        sa.Column("skin", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
