"""`python -m ICHMultiTaskLib.cli …`: the same as the installed command `ichmultitask`."""

from . import main

raise SystemExit(main())
