"""What a connection to PostgreSQL is made of: how it is opened, what it reads, when it is given up."""
