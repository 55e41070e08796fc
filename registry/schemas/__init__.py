"""The contract as files: JSON Schemas and AsyncAPI, generated, compared, and used as a judge."""
