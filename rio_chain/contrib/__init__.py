"""Adapters to what a program uses. ``asgi`` and ``wsgi`` need no package; ``otel`` and ``prometheus`` are extras."""
