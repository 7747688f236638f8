"""What leaves the software as a file for a reader: pages, tables, JSON."""
