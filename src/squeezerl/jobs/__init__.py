"""A persistent queue: jobs in SQLite or PostgreSQL, and workers that do them.

It knows nothing of policies. What a kind of job does is registered from outside, in `KINDS`; where
workers run is registered in `EXECUTORS`.
"""
