"""What every room uses: errors, writing, progress, work in the background."""
