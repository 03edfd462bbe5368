"""Packages of operators."""
