// Runs SQL: reads {setup: [statement...], query, threads, memory} from standard input, prints the query's rows as a JSON array of
// objects whose whole numbers are strings, so that none is rounded; then the seconds that the query took and the peak of the
// resident memory in KiB, on standard error.
const { DuckDBInstance } = require("@duckdb/node-api");

async function main() {
  let input = "";
  for await (const part of process.stdin) input += part;
  const { setup, query, threads, memory } = JSON.parse(input);
  const options = {};
  if (threads) options.threads = String(threads);
  if (memory) options.memory_limit = memory;
  const instance = await DuckDBInstance.create(":memory:", options);
  const connection = await instance.connect();
  for (const statement of setup || []) await connection.run(statement);
  const begin = process.hrtime.bigint();
  const reader = await connection.runAndReadAll(query);
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  process.stdout.write(JSON.stringify(reader.getRowObjectsJson()));
  process.stderr.write(JSON.stringify({ seconds, peak_kib: process.resourceUsage().maxRSS }));
}

main().catch((error) => {
  process.stderr.write(String(error));
  process.exit(1);
});
