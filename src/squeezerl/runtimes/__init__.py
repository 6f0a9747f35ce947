"""A runtime loads what was deployed and gives an actor: observations in, actions out."""
