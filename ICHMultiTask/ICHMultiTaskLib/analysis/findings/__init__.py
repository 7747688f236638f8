"""What the image shows besides the volume, proposed for correction: measured on the marked bleed."""
