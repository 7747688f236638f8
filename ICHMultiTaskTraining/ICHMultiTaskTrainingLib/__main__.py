"""`python -m ICHMultiTaskTrainingLib …`: the same as the installed command `ichmultitask-train`."""

from .cli import main

raise SystemExit(main())
