// An initiator that uses Node's own WebSocket: sends three items, is cut off, resumes, and sends two
// more. Every item comes back in capitals. Prints what came, one item a line.
//
// node client.mjs URL base|extended

import { BASE, EXTENDED, TAG, control, data, hello, parse, readHello, settings } from "./wire.mjs";

const [url, name] = process.argv.slice(2);
const profile = name === "extended" ? EXTENDED : BASE;
const items = ["one", "two", "three", "four", "five"];
let key, received, sent = 0;

// Plays one link, up to `until` items received.
function link(until) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, "rejoin.test");
    socket.binaryType = "arraybuffer";
    let greeted = false;
    let closing = false;
    const send = (bytes) => socket.send(bytes);
    const ack = () => (received === undefined ? undefined : received);
    const finish = () => {
      closing = true;
      socket.close(1000, "enough");
    };
    socket.onerror = (event) => reject(new Error(event.message ?? "the socket failed"));
    socket.onclose = (event) => {
      if (!closing || !event.wasClean) return reject(new Error(`closed with ${event.code}`));
      resolve(event.code);
    };
    socket.onopen = () => {
      if (socket.protocol !== "rejoin.test") return reject(new Error("another subprotocol"));
      const resume = key ? 0x01 | (received === undefined ? 0 : 0x02) : 0;
      const nonce = profile === EXTENDED ? Buffer.alloc(16, 0x77) : undefined;
      send(hello("ROCH", profile | resume, key ?? nonce, received));
    };
    socket.onmessage = (event) => {
      try {
        const bytes = Buffer.from(event.data);
        if (!greeted) {
          greeted = true;
          const answer = readHello(bytes, "ROSH");
          if (answer.flags & 0x01) throw new Error(`rejected: ${answer.number}`);
          if ((answer.flags & EXTENDED) !== profile) throw new Error("another profile");
          key = Buffer.from(answer.key);
          sent = answer.flags & 0x02 ? answer.number + 1 : 0;
          if (profile === EXTENDED) send(settings(sent, ack()));
          for (; sent < until; sent++) send(data(sent, ack(), items[sent]));
          return;
        }
        const frame = parse(bytes);
        if (frame.tag === TAG.ping) send(control(sent, TAG.pong, frame.token));
        if (frame.item === undefined) return;
        const expected = received === undefined ? 0 : received + 1;
        if (frame.seq !== expected) return;
        received = frame.seq;
        console.log(frame.item);
        if (received + 1 === until) finish();
      } catch (error) {
        reject(error);
      }
    };
  });
}

await link(3);
console.log(`closed ${await link(5)}`);
