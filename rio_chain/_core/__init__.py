"""Helpers that every layer uses: times and argument checks, forks, unhandled errors, deadlines."""
