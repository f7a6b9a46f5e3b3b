"""Chains and runs as SVG: measured, placed and painted here, without a font or a network."""
