"""Energy meters: one module for each, all behind one contract."""
