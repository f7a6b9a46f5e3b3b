"""``rio-chain demo``: one chain over three real HTTP servers that misbehave, on every executor.

servers.py   the three backends
faults.py    what they do wrong
client.py    what a program that uses them needs: a real HTTP client and one function per endpoint
chain.py     the chain: read this one
report.py    what is printed
main.py      runs it
"""
