"""The Unitree Go2 as an environment: `--env examples.go2:Go2-v0`, from the project's root."""

import gymnasium

gymnasium.register("Go2-v0", entry_point="examples.go2.environment:Go2Env", max_episode_steps=500)
