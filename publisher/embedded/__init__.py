"""PostgreSQL and NATS out of wheels: started in a folder, watched over, stopped whatever happens.

    with owned(directory) as state_dir, postgres(state_dir) as database, nats_server(state_dir) as broker:
        ...  # database.url, broker.url

A server lives as long as its `with` block. However this process ends, `guard.py` stops the server; why it is
built so: docs/adr/0002-embedded-servers.md.
"""
