"""The `ichmultitask-train ensemble` command."""

from pathlib import Path


def add_arguments(parser):
    """Add the command's arguments to its parser."""
    parser.add_argument("models", type=Path, nargs="+", metavar="BUNDLE", help="at least two")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the new bundle, to be calibrated")
    parser.add_argument("--name", help="default: that of the last with -ensemble")
    parser.add_argument("--bundle-version", help="default: 0.1.0")
    parser.set_defaults(run=run)


def run(options):
    """Do the command's work."""
    from ..bundles.averaging import ensemble_bundles

    bundle = ensemble_bundles(options.models, options.output, options.bundle_version, options.name)
    print(f"Model bundle of {len(options.models)} models, to be calibrated: {bundle.folder}")
