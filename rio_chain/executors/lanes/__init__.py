"""Lanes: processes that run functions one at a time."""
