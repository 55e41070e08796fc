"""What is asked of a large registry: the functions of the specification, and the search in all texts."""
