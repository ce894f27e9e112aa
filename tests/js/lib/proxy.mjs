// A TCP proxy that misbehaves on request.
//
// It stands between clients and server and knows nothing of the protocol. It can cut every
// connection, refuse new ones, delay, deliver in small pieces, hold back one direction, and let the
// server's end of a connection live on after the client's end has died, so that an old connection
// is seen to die after a new one was made.

import net from "node:net";
import { once } from "node:events";
import { seeded } from "./chance.mjs";
import { pause } from "./waiting.mjs";

export class Proxy {
  /** Milliseconds before each piece passes, up to this many, in both directions. */
  delayMs = 0;
  /** Splits what passes into pieces of at most this many bytes; 0 passes it as it came. */
  pieceBytes = 0;
  /** Whether new connections are closed at once. */
  refusing = false;
  /** Connections accepted so far. */
  accepted = 0;
  /** Bytes that have come so far, from the clients and from the server. */
  bytes = { up: 0, down: 0 };

  #target;
  #server;
  #random;
  #pairs = new Set();
  #orphans = new Set();
  #held = { up: null, down: null };

  /** @param {string} targetUrl the server's socket address; see `listen` */
  constructor(targetUrl, seed) {
    this.#target = new URL(targetUrl);
    this.#random = seeded(seed);
    this.#server = net.createServer((client) => this.#accept(client));
  }

  static async listen(targetUrl, { seed = 1 } = {}) {
    const proxy = new Proxy(targetUrl, seed);
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  /** What clients are given in place of the server's address. */
  get url() {
    const url = new URL(this.#target);
    url.port = String(this.#server.address().port);
    return url.href;
  }

  /** Kills all connections, at both ends, with what was under way. */
  cut() {
    for (const { client, upstream } of this.#pairs) {
      client.resetAndDestroy();
      upstream.resetAndDestroy();
    }
  }

  /** Kills the clients' ends only: the server believes in the old connections for now. */
  orphan() {
    for (const { client, upstream } of this.#pairs) {
      this.#orphans.add(upstream);
      client.resetAndDestroy();
    }
  }

  /** Lets the connections that `orphan` left behind die at the server's end too. */
  bury() {
    for (const upstream of this.#orphans) {
      upstream.resetAndDestroy();
    }
    this.#orphans.clear();
  }

  /** Holds back what goes "up" to the server or "down" to the clients. */
  hold(direction) {
    let open;
    const gate = new Promise((resolve) => {
      open = resolve;
    });
    this.#held[direction] = { gate, open };
  }

  release(direction) {
    this.#held[direction]?.open();
    this.#held[direction] = null;
  }

  async close() {
    this.#server.close();
    this.release("up");
    this.release("down");
    this.cut();
    this.bury();
    await once(this.#server, "close");
  }

  #accept(client) {
    if (this.refusing) {
      client.resetAndDestroy();
      return;
    }
    this.accepted += 1;
    const upstream = net.connect(Number(this.#target.port), this.#target.hostname);
    const pair = { client, upstream };
    this.#pairs.add(pair);
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      // Without a listener the expected error of a cut connection would end the process.
      socket.on("error", () => {});
    }
    client.on("close", () => {
      this.#pairs.delete(pair);
      if (!this.#orphans.has(upstream)) {
        upstream.destroy();
      }
    });
    upstream.on("close", () => client.destroy());
    this.#carry(client, upstream, "up");
    this.#carry(upstream, client, "down");
  }

  async #carry(from, to, direction) {
    try {
      for await (const chunk of from) {
        this.bytes[direction] += chunk.length;
        for (const piece of this.#pieces(chunk)) {
          await this.#passage(direction);
          if (!to.destroyed && !to.write(piece)) {
            await Promise.race([once(to, "drain"), once(to, "close")]);
          }
        }
      }
      to.end();
    } catch {
      // One end is gone; the close listeners see to the other.
    }
  }

  async #passage(direction) {
    while (this.#held[direction]) {
      await this.#held[direction].gate;
    }
    if (this.delayMs > 0) {
      await pause(this.#random() * this.delayMs);
    }
  }

  *#pieces(chunk) {
    if (this.pieceBytes === 0) {
      yield chunk;
      return;
    }
    let at = 0;
    while (at < chunk.length) {
      const size = 1 + Math.floor(this.#random() * this.pieceBytes);
      yield chunk.subarray(at, at + size);
      at += size;
    }
  }
}
