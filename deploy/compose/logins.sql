-- The logins of the registry's parts, with the passwords in secrets/; as often as you like, also with new passwords.
-- Their rights are those of the roles that `imi-registry roles grant` gives them: docs/security.md.
\set ON_ERROR_STOP on
\set publisher `cat /run/secrets/db_publisher`
\set applier `cat /run/secrets/db_applier`
\set reader `cat /run/secrets/db_reader`

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest('{publisher, applier, reader}'::text[]) AS wanted (name)
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

-- So that no password stands in the server's log, whatever it logs.
SET log_statement = 'none';
SET log_min_duration_statement = -1;
SET log_min_error_statement = 'panic';
ALTER ROLE publisher PASSWORD :'publisher';
ALTER ROLE applier PASSWORD :'applier';
ALTER ROLE reader PASSWORD :'reader';
