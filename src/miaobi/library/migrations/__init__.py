"""How the tables change from one version to the next, by alembic."""
