// Sends spans by OpenTelemetry's own exporters for Node.
//
//   node send.js HTTP_URL GRPC_URL
//
// One span by each way, of that way's name. The exit status is 1 when one was not taken.

import { createRequire } from 'node:module';

// The packages lie in a cache, not beside this file.
const require = createRequire(`${process.env.SENDERS_CACHE}/package.json`);
const { resourceFromAttributes } = require('@opentelemetry/resources');
const { BasicTracerProvider, SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const json = require('@opentelemetry/exporter-trace-otlp-http').OTLPTraceExporter;
const proto = require('@opentelemetry/exporter-trace-otlp-proto').OTLPTraceExporter;
const grpc = require('@opentelemetry/exporter-trace-otlp-grpc').OTLPTraceExporter;

const [http, grpcUrl] = process.argv.slice(2);
const url = `${http}/v1/traces`;
const ways = {
  'node json': new json({ url }),
  'node json gzip': new json({ url, compression: 'gzip' }),
  'node protobuf': new proto({ url }),
  'node protobuf gzip': new proto({ url, compression: 'gzip' }),
  'node grpc': new grpc({ url: grpcUrl }),
  'node grpc gzip': new grpc({ url: grpcUrl, compression: 'gzip' }),
};

for (const [name, exporter] of Object.entries(ways)) {
  let taken;
  const result = new Promise((resolve) => {
    taken = resolve;
  });
  const telling = {
    export: (spans, done) => exporter.export(spans, (told) => (done(told), taken(told))),
    shutdown: () => exporter.shutdown(),
    forceFlush: () => exporter.forceFlush(),
  };
  const provider = new BasicTracerProvider({
    resource: resourceFromAttributes({ 'service.name': 'node' }),
    spanProcessors: [new SimpleSpanProcessor(telling)],
  });
  provider.getTracer('senders').startSpan(name, { attributes: { 'messaging.kafka.offset': 7 } }).end();
  const { code, error } = await result;
  if (code !== 0) {
    console.error(`${name}: ${error}`);
    process.exitCode = 1;
  }
  await provider.shutdown();
}
