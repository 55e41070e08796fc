// A consumer that knows the registry by its contract alone: docs/contract.md and schemas/.
// It subscribes to everything, registers a project by publishing bytes, reads the reply, replays from the start, and
// validates whatever it meets. Standard output: "subscribed", then one JSON object with what was found.
//
// node consumer.mjs NATS_URL PREFIX SCHEMAS_FOLDER ORIGIN

import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { jetstream } from "@nats-io/jetstream";
import { connect, createInbox } from "@nats-io/transport-node";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const [url, prefix, folder, origin] = process.argv.slice(2);
const EVENTS = `${prefix}.evt.v1.>`;

async function loadSchemas() {
  const ajv = addFormats(new Ajv({ allErrors: true, strict: true }));
  for (const part of ["", "events", "commands", "queries"]) {
    for (const name of await readdir(join(folder, part))) {
      if (!name.endsWith(".json") || name === "asyncapi.json") continue;
      ajv.compile(JSON.parse(await readFile(join(folder, part, name), "utf8")));
    }
  }
  return ajv;
}

function connectTo(text) {
  const { username, password, host } = new URL(text);
  const login = password ? { user: username, pass: password } : username ? { token: username } : {};
  return connect({ servers: host, ...login });
}

const ajv = await loadSchemas();
const faults = [];

function check(schemaId, value, what) {
  const validate = ajv.getSchema(schemaId);
  if (!validate) faults.push(`${what}: no schema ${schemaId}`);
  else if (!validate(value)) faults.push(`${what}: ${ajv.errorsText(validate.errors)}`);
}

function readEvent(message) {
  const event = message.json();
  check("urn:imi:registry:envelope:v1", event, message.subject);
  if (event.data !== undefined) check(event.dataschema, event.data, `${message.subject} data`);
  if (message.headers.get("Nats-Msg-Id") !== event.id) faults.push(`${message.subject}: Nats-Msg-Id is not the id`);
  if (message.headers.get("content-type") !== "application/cloudevents+json") faults.push(`${message.subject}: type`);
  return event;
}

async function register(client, inbox) {
  const outcomes = client.subscribe(inbox, { max: 1, timeout: 20_000 });
  const command = {
    specversion: "1.0",
    id: randomUUID(),
    source: "urn:test:node",
    type: "imi.project.register.v1",
    replyto: inbox,
    actor: "node",
    data: { name: "from-node", remote_origin: origin },
  };
  check("urn:imi:registry:command-envelope:v1", command, "command");
  check("urn:imi:registry:command:project.register:v1", command.data, "command data");
  const bytes = new TextEncoder().encode(JSON.stringify(command));
  const kept = await client.request(`${prefix}.cmd.v1.project.register`, bytes, { timeout: 20_000 });
  for await (const message of outcomes) {
    const outcome = message.json();
    check("urn:imi:registry:outcome:v1", outcome, "outcome");
    return { command, kept: kept.json(), outcome };
  }
}

async function replay(client) {
  const consumer = await jetstream(client).consumers.get(`${prefix.toUpperCase()}_EVENTS`, { filter_subjects: EVENTS });
  const events = [];
  for await (const message of await consumer.consume()) {
    events.push(readEvent(message));
    if (message.info.pending === 0) break;
  }
  return events;
}

const client = await connectTo(url);
const live = [];
const subscription = client.subscribe(EVENTS);
await client.flush();
console.log("subscribed");

const registered = await register(client, createInbox());
for await (const message of subscription) {
  const event = readEvent(message);
  live.push(event);
  // The event of the outcome is the last one of the command's transaction.
  if (event.type === "imi.command.applied.v1" && event.causationid === registered.command.id) break;
}
const replayed = await replay(client);
await client.close();

const brief = (events) => events.map(({ id, type, causationid, actor }) => ({ id, type, causationid, actor }));
console.log(JSON.stringify({ ...registered, live: brief(live), replayed: brief(replayed), faults }));
