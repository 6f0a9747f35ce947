"""The kinds of checkpoints that the library reads itself; each is one module or package."""
