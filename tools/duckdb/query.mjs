// Runs a file of SQL in an in-memory DuckDB and prints every result's rows, one JSON object a line.
//
//	node query.mjs [--set name=value]… file.sql
//
// --set does what SET VARIABLE does in SQL. The documentation's SQL is checked with this: `make setup`
// gets DuckDB through npm, so no Python is needed.
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { DuckDBInstance } from '@duckdb/node-api';

const { values, positionals } = parseArgs({
  options: { set: { type: 'string', multiple: true, default: [] } },
  allowPositionals: true,
});
if (positionals.length !== 1) {
  console.error('usage: node query.mjs [--set name=value]… file.sql');
  process.exit(2);
}

const quoted = (s, mark) => mark + s.replaceAll(mark, mark + mark) + mark;

async function run() {
  const connection = await (await DuckDBInstance.create(':memory:')).connect();
  for (const pair of values.set) {
    const at = pair.indexOf('=');
    await connection.run(`SET VARIABLE ${quoted(pair.slice(0, at), '"')} = ${quoted(pair.slice(at + 1), "'")}`);
  }
  // One at a time: a statement is bound when it is prepared, and needs the variables of those before.
  const statements = await connection.extractStatements(readFileSync(positionals[0], 'utf8'));
  for (let i = 0; i < statements.count; i++) {
    const result = await (await statements.prepare(i)).runAndReadAll();
    for (const row of result.getRowObjectsJson()) console.log(JSON.stringify(row));
  }
}

run().catch((err) => {
  console.error(`query.mjs: ${positionals[0]}: ${err.message}`);
  process.exit(1);
});
