-- Run once, in the new database, by the role that owns it: the role of doors and jobs, which owns no table (docs/operator.md).
\getenv password SERVER_PASSWORD
CREATE ROLE consent LOGIN PASSWORD :'password';
ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO consent;
ALTER DEFAULT PRIVILEGES GRANT USAGE ON SEQUENCES TO consent;
