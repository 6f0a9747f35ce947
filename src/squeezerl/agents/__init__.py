"""Checkpoints become policies, without running anything that the checkpoint holds."""
