"""Training agents with Stable-Baselines3, in float or quantization-aware."""
