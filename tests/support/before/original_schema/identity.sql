-- Tables of the migration that came later.

CREATE TABLE identities (
    id SERIAL PRIMARY KEY,
    project_id UUID NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    worktree_id UUID CONSTRAINT identity_worktree REFERENCES worktrees (id),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW()
);
CREATE TRIGGER identities_updated_at BEFORE UPDATE ON identities
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
INSERT INTO identities (project_id, worktree_id) VALUES (uuid(2), uuid(13));
