"""Ways to compress a network. A method is one module, and registers itself."""
