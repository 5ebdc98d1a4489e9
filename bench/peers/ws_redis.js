// A peer that does the same job with only `ws` and node-redis. It stores nothing and guarantees nothing.
// REDIS_URL is the address of its Redis; it listens on HOST and PORT.

import { createServer } from "node:http";

import { createClient } from "@redis/client";
import { WebSocketServer } from "ws";

const CHANNEL = "admins";
const BACKLOG = 4096;

const publisher = createClient({ url: process.env.REDIS_URL });
const subscriber = publisher.duplicate();
// Without these listeners, this process would end when Redis disconnects a subscriber that is too slow.
for (const client of [publisher, subscriber]) client.on("error", console.error);
await Promise.all([publisher.connect(), subscriber.connect()]);

const admins = new Set();
await subscriber.subscribe(CHANNEL, (text) => {
  for (const admin of admins) admin.send(text);
});

async function answer(socket, frame) {
  if (frame.action === "identify") {
    if (frame.type === "admin") admins.add(socket);
    socket.send(JSON.stringify({ type: "identified" }));
    return;
  }
  await publisher.publish(CHANNEL, JSON.stringify({ type: "message", content: frame.content }));
  socket.send(JSON.stringify({ type: "ack", id: frame.id }));
}

const http = createServer();
new WebSocketServer({ server: http, path: "/ws" }).on("connection", (socket) => {
  socket.on("message", (data) => answer(socket, JSON.parse(data)).catch(console.error));
  socket.on("close", () => admins.delete(socket));
  socket.on("error", () => {}); // a close follows
});
http.listen({ port: Number(process.env.PORT), host: process.env.HOST, backlog: BACKLOG });
