// Numbers with all their digits in JavaScript, whose own JSON makes doubles of them: a command that has some, and the
// event that tells them. Standard output: the metadata of the event, as text, and one number of it, as a BigInt.
//
// node exact.mjs NATS_URL PREFIX ORIGIN

import { randomUUID } from "node:crypto";
import { connect, createInbox } from "@nats-io/transport-node";
import { LosslessNumber, isSafeNumber, parse, stringify } from "lossless-json";

const [url, prefix, origin] = process.argv.slice(2);
const { username, host } = new URL(url);

// A number that a double holds is a number, any other keeps its digits.
const readJson = (text) => parse(text, null, (digits) => (isSafeNumber(digits) ? Number(digits) : new LosslessNumber(digits)));

const client = await connect({ servers: host, ...(username ? { token: username } : {}) });
const events = client.subscribe(`${prefix}.evt.v1.project.registered.*`, { max: 1, timeout: 20_000 });
const inbox = createInbox();
const outcomes = client.subscribe(inbox, { max: 1, timeout: 20_000 });
const command = {
  specversion: "1.0",
  id: randomUUID(),
  source: "urn:test:node",
  type: "imi.project.register.v1",
  replyto: inbox,
  data: {
    name: "exact",
    remote_origin: origin,
    metadata: { count: 12345678901234567890123n, share: new LosslessNumber("0.12345678901234567890123"), half: 0.5 },
  },
};
await client.request(`${prefix}.cmd.v1.project.register`, stringify(command), { timeout: 20_000 });
for await (const message of outcomes) console.error(message.string());
for await (const message of events) {
  const { metadata } = readJson(message.string()).data;
  console.log(stringify({ metadata, text: String(BigInt(metadata.count.toString())) }));
}
await client.close();
