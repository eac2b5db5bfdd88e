"""What an old front end kept in the browser, taken over: its dump, the pictures in it, and what became of each."""
