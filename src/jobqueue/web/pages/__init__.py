"""The pages: each is a function of the desk and the query that returns what its template shows."""
