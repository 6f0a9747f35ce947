"""All figures of a study as PNG and SVG, and which were left out and why."""
