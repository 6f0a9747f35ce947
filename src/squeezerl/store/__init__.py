"""Results in SQLite or PostgreSQL: what was planned, what was measured, raw."""
