"""Cost against number, one file per subject; ``benchmarks.scale`` runs them."""
