"""What a good engineer writes without a library, for each kind of work that is measured."""
