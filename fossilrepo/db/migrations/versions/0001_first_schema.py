"""The first schema: repositories, people, sessions, jobs and the audit log.

A migration is frozen once released. This one is not yet, so it makes the
tables as `tables.py` has them.
"""

from alembic import op

from fossilrepo.db.tables import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    metadata.create_all(op.get_bind(), checkfirst=False)
