"""What goes on, shown while it goes on: ``request.run(live=True)``, ``map(..., progress=True)``, ``balancer.watch()``.

What is shown is a ``Sheet``, made by pure functions; a ``Screen`` shows it in a notebook, in a terminal, or as lines.
No thread is started for it: it is drawn by the one that waits anyway, between two looks at what it waits for.
"""
