"""`python -m tests.e2e`."""

from tests.e2e.cli import main

raise SystemExit(main())
