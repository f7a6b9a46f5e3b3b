"""A soak: random requests with random faults for minutes or days. ``python -m benchmarks.soak --minutes 10``.

Each executor has one ``Balancer`` for the whole time. All of them work side by side in one process: so breakers,
limits, caches and flights are shared by three executors at once, as they may be, and all compete for one interpreter
lock, which mixes the schedule. ``--executor`` takes one alone, to tell which of them a finding belongs to.

What is checked all the time: every request is answered, once, in a way that it may be answered; nothing runs for a
request that was answered; no value and no context variable goes from one request to another; nothing is reported to an
excepthook, a logger or as a warning. After each round all is idle, and no task, thread, descriptor or object is left.

Memory is what the system says (RSS). glibc is set to keep one arena: it has up to eight for each core, which threads
come to one after the other, so that they fill up for an hour, and what that adds looks like a leak.

The exit status is 0 when all is as promised, 1 when something is not, 2 when something hangs; what that is, is printed.

The seed fixes the chains, the faults of each call and what each caller asks for. It does not fix the schedule: which
thread or task comes first is the system's choice, so the same seed gives the same mix and not the same run.

    loops         what a caller or a body does on either loop
    ledger        who asked, who was answered, what must not have happened
    bodies        functions that answer, fail, hang or misbehave
    bridges       what is between them
    chains        random chains of them
    homes         where the balancers live
    asking        one request: handed in, cancelled, answered
    from_threads  the ways to ask from a thread
    from_tasks    the ways to ask from a task
    callers       those who do, in threads and on loops
    gauge         what the process holds, and whether it grows
    hearing       what no caller gets: excepthooks, warnings, logs
    rounds        the rounds, and what to say of a request that is not answered
"""
