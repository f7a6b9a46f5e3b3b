"""One file per group of tables: ``tables(settings)`` gives them. Each group runs in a process of its own."""
