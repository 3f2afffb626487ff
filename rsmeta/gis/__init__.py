"""What makes a finished map useful in a GIS; knows no model."""
