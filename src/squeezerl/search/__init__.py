"""Recipes in, the smallest artifact that keeps its return out."""
