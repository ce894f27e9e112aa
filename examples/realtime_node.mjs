import { SyncClient } from "twilio-sync";

const [token, uri = "ws://127.0.0.1:8080/v3/wsconnect"] = process.argv.slice(2);
const client = new SyncClient(token, { Twilsock: { uri } });
const board = await client.document("board");
board.on("updated", ({ data, isLocal }) => console.log(isLocal ? "mine" : "theirs", data));
await board.mutate((data) => ({ ...data, visits: (data.visits ?? 0) + 1 }));
