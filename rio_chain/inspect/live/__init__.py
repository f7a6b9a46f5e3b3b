"""Live views: ``request.run(live=True)``, ``map(..., progress=True)``, ``balancer.watch()``.

Pure functions make a ``Sheet`` from a View. A ``Screen`` shows it in a notebook, in a terminal, or as lines. No thread
is started: the thread that waits for the result draws it between two checks.
"""
