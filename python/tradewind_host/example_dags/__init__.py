"""DAGs to look at and to run first."""
