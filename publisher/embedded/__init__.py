"""PostgreSQL and NATS out of wheels: started in a folder, watched over, stopped whatever happens."""
