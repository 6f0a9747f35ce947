"""Agents: trained checkpoints become networks, and nothing in a checkpoint is executed."""
