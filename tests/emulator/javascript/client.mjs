// Azure's JavaScript SDK, told by a test what to do: one JSON object a line on standard input.
// What comes of it is written in the same form: answers with the `id` of their command, events
// and errors with the name of the subscription they belong to.
//
// Arguments: the directory with node_modules, a connection string, the name of a hub.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [modules, connectionString, hub] = process.argv.slice(2);
const { EventHubConsumerClient, EventHubProducerClient, earliestEventPosition } = createRequire(
  `${modules}/`,
)("@azure/event-hubs");

// A fault shall not take the test longer than the fault itself.
const options = { retryOptions: { maxRetries: 2, retryDelayInMs: 100, timeoutInMs: 20_000 } };
const producer = new EventHubProducerClient(connectionString, hub, options);
const consumers = [];

const write = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

// After retries the SDK throws all their errors as one.
function failure(thrown) {
  const error = thrown.errors?.at(-1) ?? thrown;
  return { name: error.name, code: error.code, message: error.message };
}

const commands = {
  properties: () => producer.getEventHubProperties(),
  partition: ({ partition }) => producer.getPartitionProperties(partition),

  async send({ partition, bodies }) {
    const batch = await producer.createBatch({ partitionId: partition });
    for (const body of bodies) {
      if (!batch.tryAdd({ body: Buffer.from(body) })) throw new Error("the batch is full");
    }
    await producer.sendBatch(batch);
    return batch.count;
  },

  // Receives from the beginning, or after a sequence number, until the process ends.
  subscribe({ name, group, partitions, epoch, after }) {
    const consumer = new EventHubConsumerClient(group, connectionString, hub, options);
    consumers.push(consumer);
    const startPosition =
      after === undefined ? earliestEventPosition : { sequenceNumber: after, isInclusive: false };
    for (const partition of partitions) {
      const handlers = {
        async processEvents(events) {
          for (const { body, sequenceNumber, offset } of events) {
            write({ name, partition, body: body.toString(), sequenceNumber, offset });
          }
        },
        async processError(error) {
          write({ name, partition, error: failure(error) });
        },
      };
      const how = { startPosition, ownerLevel: epoch, skipParsingBodyAsJson: true };
      consumer.subscribe(partition, handlers, how);
    }
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...rest } = JSON.parse(line);
  try {
    write({ id, answer: (await commands[command](rest)) ?? null });
  } catch (error) {
    write({ id, error: failure(error) });
  }
}
await Promise.allSettled([producer, ...consumers].map((client) => client.close()));
process.exit(0);
