"""A study's YAML file, read and checked as a whole before anything runs."""
