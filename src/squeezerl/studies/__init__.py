"""Studies: a grid of agents, methods and seeds becomes jobs; jobs become results."""
