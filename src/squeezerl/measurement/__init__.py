"""What is measured about an artifact and its host."""
