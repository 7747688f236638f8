"""`python -m ICHMultiTaskLib.cli …`: the same as the installed command `ichmultitask`."""

from .command import main

raise SystemExit(main())
