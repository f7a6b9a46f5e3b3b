"""Chains and runs as SVG. The code measures, places and paints them itself, without a font or a network."""
