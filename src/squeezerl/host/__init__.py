"""This machine: its facts, which every figure is kept with, and its cores."""
