"""``rio-chain demo``: one chain over three real HTTP servers that misbehave, on every executor.

servers.py   the three backends
faults.py    their faults
client.py    what any program that uses them has: a real HTTP client and one function per endpoint
chain.py     the chain: read this file
report.py    the output
main.py      runs the demo
"""
