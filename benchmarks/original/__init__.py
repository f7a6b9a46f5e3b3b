"""The Go original, measured beside ours: a benchmark of its own is put into a copy of a checkout and compiled."""
