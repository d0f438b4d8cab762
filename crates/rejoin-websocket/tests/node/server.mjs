// An acceptor whose WebSocket is written here by hand, over node:http: answers each item in capitals,
// cuts the first connection off after three items, and sends a ping first thing on each. Prints its
// port, and "pong" for each answer to a ping.

import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { BASE, EXTENDED, TAG, control, data, hello, parse, readHello, settings } from "./wire.mjs";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const OP = { part: 0, binary: 2, close: 8, ping: 9, pong: 10 };

function encode(opcode, payload, fin = true) {
  const first = (fin ? 0x80 : 0) | opcode;
  if (payload.length < 126) return Buffer.concat([Buffer.from([first, payload.length]), payload]);
  const head = Buffer.alloc(4);
  head.writeUInt8(first, 0);
  head.writeUInt8(126, 1);
  head.writeUInt16BE(payload.length, 2);
  return Buffer.concat([head, payload]);
}

/** Calls `each` with the opcode and payload of every frame that comes. */
function frames(socket, head, each) {
  let buffer = head;
  const take = (more) => {
    buffer = Buffer.concat([buffer, more]);
    for (;;) {
      if (buffer.length < 2) return;
      let length = buffer[1] & 127;
      let at = 2;
      if (length === 126) {
        if (buffer.length < 4) return;
        length = buffer.readUInt16BE(2);
        at = 4;
      }
      if (!(buffer[1] & 128)) throw new Error("a client's frame without a mask");
      if (buffer.length < at + 4 + length) return;
      const mask = buffer.subarray(at, at + 4);
      const payload = Buffer.from(buffer.subarray(at + 4, at + 4 + length));
      payload.forEach((byte, index) => (payload[index] = byte ^ mask[index % 4]));
      const opcode = buffer[0] & 15;
      buffer = buffer.subarray(at + 4 + length);
      each(opcode, payload);
    }
  };
  socket.on("data", take);
  socket.on("error", () => {});
  take(Buffer.alloc(0));
}

const session = { key: undefined, profile: BASE, received: undefined, log: [] };
let links = 0;

function serve(socket, head) {
  const cutOff = links++ === 0;
  let greeted = false;
  // In parts, as a WebSocket may.
  const send = (bytes) => {
    socket.write(encode(OP.binary, bytes.subarray(0, 5), false));
    socket.write(encode(OP.part, bytes.subarray(5)));
  };
  socket.write(encode(OP.ping, Buffer.from("there?")));
  frames(socket, head, (opcode, payload) => {
    if (opcode === OP.pong && payload.toString() === "there?") return console.log("pong");
    if (opcode === OP.close) return socket.end(encode(OP.close, payload));
    if (opcode !== OP.binary) throw new Error(`opcode ${opcode}`);
    if (!greeted) {
      greeted = true;
      const asked = readHello(payload, "ROCH");
      if (asked.flags & 0x01 && !session.key?.equals(asked.key)) throw new Error("another key");
      session.profile = asked.flags & EXTENDED;
      session.key = randomBytes(16);
      const last = session.received === undefined ? 0 : 0x02;
      send(hello("ROSH", session.profile | last, session.key, session.received));
      const next = asked.flags & 0x02 ? asked.number + 1 : 0;
      if (session.profile === EXTENDED) send(settings(next, session.received));
      session.log.slice(next).forEach((item, at) => send(data(next + at, session.received, item)));
      return;
    }
    const frame = parse(payload);
    const number = session.log.length;
    if (frame.tag === TAG.ping) send(control(number, TAG.pong, frame.token));
    if (frame.tag === TAG.close) {
      send(control(number, TAG.closeAck));
      send(Buffer.concat([control(number, TAG.close), Buffer.from([0, 0])]));
    }
    if (frame.item === undefined) return;
    if (frame.seq !== (session.received === undefined ? 0 : session.received + 1)) return;
    session.received = frame.seq;
    session.log.push(frame.item.toUpperCase());
    if (cutOff && number === 2) return socket.destroy();
    send(data(number, session.received, session.log[number]));
  });
}

const server = createServer((_, response) => response.writeHead(426).end());
server.on("upgrade", (request, socket, head) => {
  if (request.headers["x-test"] !== "yes" || request.url !== "/links?a=b") {
    return socket.end("HTTP/1.1 403 Forbidden\r\n\r\n");
  }
  const accept = createHash("sha1").update(request.headers["sec-websocket-key"] + GUID).digest("base64");
  const protocol = request.headers["sec-websocket-protocol"];
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: ${protocol}\r\n\r\n`,
  );
  serve(socket, head);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
