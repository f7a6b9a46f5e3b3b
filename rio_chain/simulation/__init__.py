"""Backends that are written or drawn instead of called: for tests, and to ask what would happen."""
