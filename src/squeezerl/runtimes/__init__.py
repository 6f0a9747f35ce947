"""An actor is an artifact loaded in a runtime: observations in, actions out."""
