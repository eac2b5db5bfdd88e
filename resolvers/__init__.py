"""What answers the API: root operations and batch relations, one file per noun."""
