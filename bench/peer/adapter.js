// oidc-provider's adapter on one table, as durable as our own store: SQLite in WAL with synchronous=FULL, or PostgreSQL.
const TABLE = `CREATE TABLE IF NOT EXISTS kept (
  model TEXT NOT NULL, id TEXT NOT NULL, payload TEXT NOT NULL, grant_id TEXT, uid TEXT, expires BIGINT, consumed BIGINT,
  PRIMARY KEY (model, id))`;
const INDEX = 'CREATE INDEX IF NOT EXISTS kept_by_grant ON kept (grant_id)';
const SQL = {
  upsert: `INSERT INTO kept (model, id, payload, grant_id, uid, expires) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (model, id) DO UPDATE SET payload = excluded.payload, expires = excluded.expires`,
  find: 'SELECT payload, consumed FROM kept WHERE model = $1 AND id = $2',
  findByUid: 'SELECT payload, consumed FROM kept WHERE model = $1 AND uid = $2',
  consume: 'UPDATE kept SET consumed = $1 WHERE model = $2 AND id = $3',
  destroy: 'DELETE FROM kept WHERE model = $1 AND id = $2',
  revoke: 'DELETE FROM kept WHERE grant_id = $1',
};
const now = () => Math.floor(Date.now() / 1000);

async function postgresql(url) {
  const { default: pg } = await import('pg');
  const pool = new pg.Pool({ connectionString: url, max: 8 });
  await pool.query(TABLE);
  await pool.query(INDEX);
  return (name, values) => pool.query({ name, text: SQL[name], values }).then((found) => found.rows[0]);
}

async function sqlite(file) {
  const { default: Database } = await import('better-sqlite3');
  const database = new Database(file);
  database.pragma('journal_mode = WAL');
  database.pragma('synchronous = FULL');
  database.exec(TABLE);
  database.exec(INDEX);
  const prepared = Object.fromEntries(
    Object.entries(SQL).map(([name, text]) => [name, database.prepare(text.replace(/\$\d/g, '?'))]),
  );
  return async (name, values) => (name.startsWith('find') ? prepared[name].get(...values) : void prepared[name].run(...values));
}

export async function adapterFor(database) {
  const run = await (database.startsWith('postgres') ? postgresql : sqlite)(database);
  const read = (row) => row && { ...JSON.parse(row.payload), ...(row.consumed ? { consumed: Number(row.consumed) } : {}) };
  return class {
    constructor(model) { this.model = model; }
    upsert(id, payload, expiresIn) {
      const values = [this.model, id, JSON.stringify(payload), payload.grantId ?? null, payload.uid ?? null];
      return run('upsert', [...values, expiresIn ? now() + expiresIn : null]);
    }
    async find(id) { return read(await run('find', [this.model, id])); }
    async findByUid(uid) { return read(await run('findByUid', [this.model, uid])); }
    findByUserCode() { return undefined; }
    consume(id) { return run('consume', [now(), this.model, id]); }
    destroy(id) { return run('destroy', [this.model, id]); }
    revokeByGrantId(grantId) { return run('revoke', [grantId]); }
  };
}
