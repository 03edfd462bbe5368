"""Sensors that come with every installation."""
