// Parse an AsyncAPI document with the official parser; prints every error and warning, and what was understood.
//
// node asyncapi.mjs FILE

import { readFile } from "node:fs/promises";
import { DiagnosticSeverity, Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
const problems = diagnostics
  .filter(({ severity }) => severity <= DiagnosticSeverity.Warning)
  .map(({ code, path, message }) => `${code} ${path.join(".")}: ${message}`);
const operations = document?.operations().all() ?? [];
console.log(
  JSON.stringify({
    problems,
    sends: operations.filter((operation) => operation.isSend()).flatMap((o) => o.channels().all().map((c) => c.address())),
    receives: operations.filter((o) => o.isReceive()).flatMap((o) => o.channels().all().map((c) => c.address())),
    messages: document?.messages().all().map((message) => message.id()) ?? [],
  }),
);
