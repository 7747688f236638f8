"""What can be measured on a mask, and the published clinical scores."""
