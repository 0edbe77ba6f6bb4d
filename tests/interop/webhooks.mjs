// Signs messages with the libraries that senders use, and has Scalekit's SDK verify them. For each
// line `{secret, id, at, body}` prints one with the signatures and the SDK's result for each.
import { createInterface } from 'node:readline';
import { ScalekitClient } from '@scalekit-sdk/node';
import { Webhook as Standard } from 'standardwebhooks';
import { Webhook as Svix } from 'svix';

const scalekit = new ScalekitClient('http://127.0.0.1:9', 'skc_1', 'hush');
for await (const line of createInterface({ input: process.stdin })) {
  const { secret, id, at, body, candidates } = JSON.parse(line);
  const when = new Date(at * 1000);
  const signatures = candidates ?? [
    new Standard(secret).sign(id, when, body),
    new Svix(secret).sign(id, when, body),
  ];
  const accepted = signatures.map((signature) => {
    const headers = { 'webhook-id': id, 'webhook-timestamp': String(at), 'webhook-signature': signature };
    try {
      return scalekit.verifyWebhookPayload(secret, headers, body);
    } catch {
      return false;
    }
  });
  console.log(JSON.stringify({ signatures, accepted }));
}
