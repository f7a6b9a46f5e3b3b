"""Virtual time: clocks that jump, the virtual executor, and the guard against real I/O."""
