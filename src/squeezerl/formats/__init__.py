"""A network as a file: written, read back and measured. A format is one module."""
