// The peer: the same job as bare `ws` and node-redis do it. It stores nothing and promises nothing.
// REDIS_URL names its Redis, PORT and HOST where it listens.

import { createServer } from "node:http";

import { createClient } from "@redis/client";
import { WebSocketServer } from "ws";

const CHANNEL = "admins";
const BACKLOG = 4096;

const publisher = createClient({ url: process.env.REDIS_URL });
const subscriber = publisher.duplicate();
// Without listeners, Redis' hanging up on a subscriber that is too slow would end this process.
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
