"""Tables, pictures and pages. Each figure is a data function and a draw function."""
