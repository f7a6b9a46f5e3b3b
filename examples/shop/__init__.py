"""A shop: one page from three backends and a database. ``python -m examples.shop`` starts it all."""
