"""Schedules as data and decisions: when they tick, what was missed, and what may start. Nothing waits here."""
