"""The engine compiles a plan into a flat program. One interpreter runs that program on any Runtime, and waits."""
