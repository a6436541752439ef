"""`python -m images`."""

from images.cli import main

raise SystemExit(main())
