"""The deployable folder: model and manifest, written atomically, read back and audited."""
