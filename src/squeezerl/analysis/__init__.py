"""Statistics: pure functions of arrays, with the generator passed in."""
