"""Adapters to other libraries, each an extra of its own: ``contrib.otel``, ``contrib.prometheus``."""
