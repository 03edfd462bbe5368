"""Base classes by their 3.x path."""
