"""Portraits to captures."""
