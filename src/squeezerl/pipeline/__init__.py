"""The kinds of jobs that train, compress, evaluate and measure policies.

Importing `squeezerl.pipeline.kinds` registers them.
"""
