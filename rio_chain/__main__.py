"""``python -m rio_chain``: the same as ``rio-chain``."""

from rio_chain.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
