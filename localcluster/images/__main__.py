"""`python -m localcluster.images`."""

from localcluster.images.cli import main

raise SystemExit(main())
