// The wire of docs/protocol.md, as far as a peer in a test needs it; written from that page alone.

export const BASE = 0x00;
export const EXTENDED = 0x80;
export const TAG = { data: 0, acked: 1, settings: 2, ack: 3, ping: 4, pong: 5, close: 6, closeAck: 7 };

/** A hello of 25 bytes. */
export function hello(magic, flags, key, number) {
  const bytes = Buffer.alloc(25);
  bytes.write(magic, 0, "latin1");
  bytes[4] = flags;
  (key ?? Buffer.alloc(16)).copy(bytes, 5);
  bytes.writeUInt32LE(number ?? 0, 21);
  return bytes;
}

export function readHello(bytes, magic) {
  if (bytes.length !== 25 || bytes.toString("latin1", 0, 4) !== magic) throw new Error("no hello");
  return { flags: bytes[4], key: bytes.subarray(5, 21), number: bytes.readUInt32LE(21) };
}

export function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

export function data(seq, ack, item) {
  const tag = ack === undefined ? [Buffer.from([0])] : [Buffer.from([1]), varint(ack)];
  return Buffer.concat([varint(seq), ...tag, Buffer.from(item)]);
}

export function control(seq, tag, ...fields) {
  return Buffer.concat([varint(seq), Buffer.from([tag]), ...fields.map(varint)]);
}

/** Settings: nothing or `ack` acknowledged, a window of 1 MiB, items of 64 KiB, a log of 1 MiB. */
export function settings(seq, ack) {
  const state = ack === undefined ? [0, 1 << 20] : [1, ack, 1 << 20];
  return control(seq, TAG.settings, ...state, 1 << 16, 1 << 20);
}

export function parse(bytes) {
  let at = 0;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("a frame ends early");
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(value);
    }
  };
  const frame = { seq: number(), tag: bytes[at++] };
  if (frame.tag === TAG.acked) frame.ack = number();
  if (frame.tag === TAG.ack || frame.tag === TAG.settings) {
    if (number() === 1) frame.ack = number();
    frame.limit = number();
  }
  if (frame.tag === TAG.ping) frame.token = number();
  if (frame.tag <= TAG.acked) frame.item = bytes.toString("latin1", at);
  return frame;
}
