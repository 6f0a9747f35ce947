"""Returns of actors in environments. The only place that knows Gymnasium and EnvPool."""
