"""Specs say how to compress; `compress` does it; one module a method."""
