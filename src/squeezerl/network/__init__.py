"""A policy is normaliser + network + action head, complete from observation to action."""
