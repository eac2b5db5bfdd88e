"""What the platform's own operators ask of the database."""
