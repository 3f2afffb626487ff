"""Map scenes, arrays and image files with a trained model."""
