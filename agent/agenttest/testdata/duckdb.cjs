// Runs SQL: reads {setup: [statement...], query, threads} from standard input, prints the query's rows as a JSON array of
// objects whose whole numbers are strings, so that none is rounded; then the seconds that the query took, by the clock and of all
// processors, and the peak of the resident memory in KiB, on standard error.
const { DuckDBInstance } = require("@duckdb/node-api");

async function main() {
  let input = "";
  for await (const part of process.stdin) input += part;
  const { setup, query, threads } = JSON.parse(input);
  const options = {};
  if (threads) options.threads = String(threads);
  const instance = await DuckDBInstance.create(":memory:", options);
  const connection = await instance.connect();
  for (const statement of setup || []) await connection.run(statement);
  const begin = process.hrtime.bigint();
  const cpu = process.cpuUsage();
  const reader = await connection.runAndReadAll(query);
  const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
  const { user, system } = process.cpuUsage(cpu);
  process.stdout.write(JSON.stringify(reader.getRowObjectsJson()));
  process.stderr.write(JSON.stringify({ seconds, cpu_seconds: (user + system) / 1e6, peak_kib: process.resourceUsage().maxRSS }));
}

main().catch((error) => {
  process.stderr.write(String(error));
  process.exit(1);
});
