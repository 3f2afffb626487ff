"""Write a commented configuration from scenes and labels alone."""
