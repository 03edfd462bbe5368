"""Operators that come with every installation."""
