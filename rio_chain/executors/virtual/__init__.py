"""Virtual time: clocks that jump, the executor on them, and what must not be used there."""
