"""The engine waits: it compiles a plan into a flat program, and one interpreter runs that on any Runtime."""
