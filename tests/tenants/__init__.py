"""One bad tenant harms nobody else: attacks on a real API server, Prometheus and operator, and who noticed.

A `town` has twenty honest models in four namespaces, which become idle and wake over and over. An attack gets a
namespace beside them and may do whatever somebody with all rights in it may. What counts (`verdict.py`): how long each
honest model waits from "idle for long enough" to its order, beside the same town without the bad one; `/healthz`;
whether the bad one is named (`naming.py`); and what the log holds.

    make test PYTEST_ARGS="tests/tenants"                  all of it
    make test PYTEST_ARGS="tests/tenants -k redirects"     one attack

A new kind is a function in `attacks/` with its line in `attacks/every.py`. `mutants.py` takes isolations out of the
operator one by one, and `test_the_suite_notices.py` proves that the suite then fails.
"""
