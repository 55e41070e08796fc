"""Commands, and the least that takes a call to the database by way of a stream and brings its answer back."""
