// Judges SQL by a grammar of Trino's: reads [statement...] from standard input, prints for each the errors that the parser of
// dt-sql-parser finds, as [{line, column, message}...]. The package is made for bundlers: its imports name files without ".js", and
// directories, which Node.js takes with the hook below only.
import { register } from "node:module";
import { pathToFileURL } from "node:url";

const hook = `
  import { existsSync } from "node:fs";
  import { fileURLToPath } from "node:url";
  export async function resolve(specifier, context, next) {
    if (specifier.startsWith(".") && context.parentURL) {
      for (const end of ["", ".js", "/index.js"]) {
        const url = new URL(specifier + end, context.parentURL).href;
        if (url.endsWith(".js") && existsSync(fileURLToPath(url))) return { url, format: "module", shortCircuit: true };
      }
    }
    return next(specifier, context);
  }`;
register("data:text/javascript," + encodeURIComponent(hook), import.meta.url);

let input = "";
for await (const part of process.stdin) input += part;
const { TrinoSQL } = await import(pathToFileURL(process.argv[2] + "/node_modules/dt-sql-parser/dist/parser/trino/index.js").href);
const judged = JSON.parse(input).map((sql) =>
  new TrinoSQL().validate(sql).map((e) => ({ line: e.startLine, column: e.startColumn, message: e.message })));
process.stdout.write(JSON.stringify(judged));
