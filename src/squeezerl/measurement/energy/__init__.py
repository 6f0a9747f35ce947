"""Meters of energy behind one interface, and which of them this machine has."""
