"""A policy in a runtime and nothing else in the process: what a deployment costs.

Each module imports only its runtime and offers `load`. They are kept apart from the actors, which
check what they are given and know more than one runtime.
"""
