"""Checkpoints of Stable-Baselines3 and sb3-contrib, alone or in rl-zoo's folders."""
