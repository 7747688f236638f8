"""What is found in one scan, or between two of them."""
